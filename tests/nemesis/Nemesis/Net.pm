# A network of the test's own: each node in a network namespace, all on one bridge, the clients beside it.
#
# Before anything else a test enters namespaces of its own: network, mounts and processes. With them ends every node, link
# and mount; what it keeps beside its history is in a file system in memory that is mounted there. Rules sit on the bridge:
# the way from node 2 to node 3 is (node2, node3), and clients reach every node always.
package Nemesis::Net;

use strict;
use warnings;
use Exporter 'import';
use Time::HiRes qw(time);

use Cluster::Namespace;

our @EXPORT = qw(node_address lose lose_some slow_link heal_links lost_packets);

my $scratch = '/run';    # in the own mount namespace: everything that goes with the test

my $rules = <<'RULES';
table bridge links {
    set lost { type ifname . ifname; }
    chain some { }
    chain forward {
        type filter hook forward priority 0;
        iifname . oifname @lost counter drop
        jump some
    }
}
RULES

enter_namespace(
    'a network of its own cannot be had',
    "mount -t tmpfs tmpfs $scratch && ip link add name try0 type bridge && ip link add name try1 type veth && "
        . 'nft add table bridge t && nsenter --net=/proc/self/ns/net true',
    qw(--net --mount --pid --fork --kill-child --mount-proc)
);
command('mount', '-t', 'tmpfs', '-o', 'size=3g', 'tmpfs', $scratch);
mkdir "$scratch/netns";
$ENV{TMPDIR} = $scratch;
command(qw(ip link set lo up));
command(qw(ip link add bridge type bridge));
command(qw(ip link set bridge up));
command(qw(ip address add 10.77.0.254/24 brd + dev bridge));
nft($rules);

sub node_address { return "10.77.0.$_[0]" }

# The namespace of a node: the words before a command that run it there.
sub new_host {
    my ($number) = @_;
    my $name = "node$number";
    command(qw(ip netns add), $name);
    command(qw(ip link add), $name, qw(type veth peer name eth0 netns), $name);
    command(qw(ip link set), $name, qw(master bridge up));
    command('ip', '-n', $name, qw(link set lo up));
    command('ip', '-n', $name, qw(link set eth0 up));
    command('ip', '-n', $name, qw(address add), node_address($number) . '/24', qw(brd + dev eth0));
    return ('nsenter', "--net=$scratch/netns/$name");
}

sub end_host {
    my ($number) = @_;
    command(qw(ip link delete), "node$number");    # a namespace takes its time to go
    command(qw(ip netns delete), "node$number");
}

# From now on what goes these ways, each [from, to] by the nodes' numbers, is lost.
sub lose {
    my (@ways) = @_;
    my %elements = map { ("\"node$_->[0]\" . \"node$_->[1]\"" => 1) } @ways;
    nft(join "\n", 'flush set bridge links lost', map({ "add element bridge links lost { $_ }" } sort keys %elements), '');
}

# This many of 100 packets between nodes are lost.
sub lose_some {
    my ($percent) = @_;
    nft("flush chain bridge links some\n"
            . ($percent ? "add rule bridge links some numgen random mod 100 < $percent counter drop\n" : ''));
}

# What is sent to the node comes through at this rate, in kbit a second; undef: at once.
sub slow_link {
    my ($number, $rate) = @_;
    system("tc qdisc del dev node$number root 2>/dev/null");
    command(qw(tc qdisc add dev), "node$number", qw(root tbf rate), "${rate}kbit", qw(burst 16kb latency 300ms)) if $rate;
}

sub heal_links {
    my (@numbers) = @_;
    lose();
    lose_some(0);
    slow_link($_) for @numbers;
}

# Packets lost so far in partitions, as the rule's counter has it.
sub lost_packets {
    my ($packets) = `nft list chain bridge links forward` =~ /\@lost counter packets (\d+)/ or die 'nft shows no counter';
    return $packets;
}

1;
