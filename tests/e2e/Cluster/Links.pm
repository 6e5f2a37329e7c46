# Links between nodes that can be cut, in one direction or in both, while clients still reach every node.
#
# A test that uses this file (before Cluster) runs in a network namespace of its own, which holds nothing but loopback: the
# machine's own network is never touched, and several such tests may go on at once. Where a namespace or nft is not to be
# had, the test is skipped, and says why.
#
# The nodes sit on 127.0.0.2, 127.0.0.3, and so on; the client comes from 127.0.0.1. A node sends from the address it is bound to,
# so a rule on a pair of addresses is a link: what passes it is dropped, TCP and UDP, without a word to either end.
package Cluster::Links;

use strict;
use warnings;
use Exporter 'import';
use Test::More;
use Time::HiRes qw(time);

use Cluster::Namespace;

our @EXPORT = qw(lose heal between dropped one_way_at_a_time start_apart all_vote nodes_apart);

my $broadcast = '127.255.255.255';

my $rules = <<'RULES' =~ s/ACKNOWLEDGEMENTS/join "\n        ", map { "tcp doff $_ ip length " . (20 + 4 * $_) . ' accept' } 5 .. 15/er;
table ip links {
    set lost { type ipv4_addr . ipv4_addr; }
    set mute { type ipv4_addr . ipv4_addr; }
    counter lost_tcp { }
    counter lost_udp { }
    counter lost_dials { }
    chain lost {
        tcp flags & (syn | ack) == syn counter name "lost_dials"
        meta l4proto tcp counter name "lost_tcp"
        meta l4proto udp counter name "lost_udp"
        drop
    }
    chain mute {
        ACKNOWLEDGEMENTS
        drop
    }
    chain input {
        type filter hook input priority 0;
        ip saddr . ip daddr @lost jump lost
        ip saddr . ip daddr @mute jump mute
    }
}
RULES

enter_namespace('links cannot be cut here', 'ip link set lo up && nft add table ip links', '--net');
command(qw(ip link set lo up));
nft($rules);

# From now on what goes these ways, each [from, to], is lost, and nothing else. A broadcast reaches all or nobody: those
# of a node that somebody is not to hear are lost to all. [from, to, 'data']: TCP's bare acknowledgements pass, so that
# the other end's data goes on arriving.
sub lose {
    my (@ways) = @_;
    my %elements;
    for my $way (@ways) {
        my $set = $way->[2] ? 'mute' : 'lost';
        $elements{"$set { $way->[0]{bind} . $_ }"} = 1 for $way->[1]{bind}, $broadcast;
    }
    nft(join "\n", map({ "flush set ip links $_" } qw(lost mute)), map({ "add element ip links $_" } sort keys %elements), '');
}

sub heal { lose() }

# Both ways between a node and each of the others.
sub between {
    my ($node, @others) = @_;
    return map { ([$node, $_], [$_, $node]) } @others;
}

# Packets lost so far: of "tcp" or "udp", or "dials", the attempts to connect.
sub dropped {
    my ($what) = @_;
    my ($packets) = `nft list counter ip links lost_$what` =~ /packets (\d+)/ or die 'nft shows no counter';
    return $packets;
}

# Lets what two nodes send pass in one direction at a time, by turns, until the code returns something true, which is
# returned, or for three seconds; the other ways that are named stay lost. In the direction whose turn it is not, TCP's
# bare acknowledgements pass and data does not. TCP repeats that, so that it arrives in a later turn, but never a question
# and its answer in the same one. The last direction stays as it was.
sub one_way_at_a_time {
    my ($one, $other, $code, @ways) = @_;
    my ($turns, $turn_ends, $until) = (0, 0, time + 3);
    while (time < $until) {
        my $result = $code->();
        return $result if $result;
        next if time < $turn_ends;
        lose(@ways, [$turns++ % 2 ? ($one, $other) : ($other, $one), 'data']);
        $turn_ends = time + 0.07;
    }
    return;
}

# A group of `count` nodes, each on an address of its own, in the network 127.0.`net`: those of one network share its links.
sub start_apart {
    my ($cluster, $net, $count, @args) = @_;
    my @nodes = map { $cluster->node(bind => "127.0.$net." . ($_ + 1), leader => $_ == 1, args => [@args]) } 1 .. $count;
    $_->start for @nodes;
    return @nodes;
}

# Waits until all of them vote.
sub all_vote {
    my (@nodes) = @_;
    my $leader = $nodes[0]{cluster}->settle(@nodes);
    Cluster::poll(sub {
            my $reply = $leader->set(voters => 'x', query => '?ack=all');
            $reply && ($reply->header('KV-Acks') // '') eq @nodes . '/' . @nodes;
        }, 'all nodes to vote');
    return @nodes;
}

# Both of these for a group of its own.
sub nodes_apart {
    my ($cluster, $count, @args) = @_;
    return all_vote(start_apart($cluster, 0, $count, @args));
}

1;
