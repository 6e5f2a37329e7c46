# Real nodes under faults that nobody planned for, and a judge of what their clients were answered.
#
# A round is a group of its own, each node in a network namespace with a disk of its own (Nemesis/Net.pm, Nemesis/Disk.pm),
# clients that record all they do (Nemesis/Client.pm), and every fault once, in an order and at places that follow from the
# round's seed. Then all is healed, every key is read, and build/tests/check/judge says whether the history could be
# that of the store that README promises. A round in which a fault or an outcome did not occur proves nothing, and fails.
#
# NEMESIS_SEED repeats a round's faults, though not its timing; NEMESIS_MINUTES goes on with rounds, each a minute of faults or
# so, by seeds of the clock; NEMESIS_ACK and NEMESIS_FAULTS (names with commas) choose. A round that fails leaves its
# history and the nodes' logs in BUILD/nemesis, and says where.
package Nemesis;

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../e2e";
use Cwd qw(abs_path);
use File::Path qw(make_path remove_tree);
use List::Util qw(shuffle);
use Test::More;
use Time::HiRes qw(time);

use Nemesis::Net;
use Cluster;
use Cluster::Need;
use Nemesis::Client;
use Nemesis::Disk;

my $disk_size = 320 << 20;
my $clients = 6;

# Of a round: fewer prove nothing.
my %floor = (
    'set ok' => 200, 'get ok' => 200, 'keys ok' => 20, 'delete ok' => 20, 'failed' => 20, 'unknown' => 5,
    'linearizable ok' => 100, 'staleness' => 50, 'pair ok' => 50, 'pair again' => 5, 'leaders' => 3,
);

# --- faults: each by its name, what it does until it is over; `hold` waits for a time of the fault ---

my %fault = (
    kill => sub {
        my ($round) = @_;
        my $node = $round->any;
        $node->kill9;
        $round->hold(0.3, 1.5);
        $node->start;
    },
    kill_leader => sub {
        my ($round) = @_;
        my $node = $round->leader;
        $node->kill9;
        $round->hold(0.5, 1.5);
        $node->start;
    },
    kill_all => sub {
        my ($round) = @_;
        $_->signal('KILL') for shuffle $round->nodes;
        $_->ended for $round->nodes;
        $_->start for shuffle $round->nodes;
        $round->hold(0.5, 1);
    },
    pause => sub {
        my ($round) = @_;
        my $node = $round->any;
        $node->signal('STOP');
        $round->hold(0.3, 2);
        $node->signal('CONT');
    },
    pause_leader => sub {
        my ($round) = @_;
        my $node = $round->leader;
        $node->signal('STOP');
        $round->hold(0.6, 2);
        $node->signal('CONT');
    },
    halves => sub {
        my ($round) = @_;
        my @nodes = shuffle $round->nodes;
        my @minority = splice @nodes, 0, int(@nodes / 2);
        $round->cut(map { my $one = $_; map { both($one, $_) } @nodes } @minority);
    },
    isolate_leader => sub {
        my ($round) = @_;
        my $leader = $round->leader;
        $round->cut(map { both($leader, $_) } grep { $_ != $leader } $round->nodes);
    },
    # Two halves that hear one node in their middle, and not each other.
    bridge => sub {
        my ($round) = @_;
        my (undef, @nodes) = shuffle $round->nodes;
        my @half = splice @nodes, 0, int(@nodes / 2);
        $round->cut(map { my $one = $_; map { both($one, $_) } @nodes } @half);
    },
    # Everybody hears two neighbours.
    ring => sub {
        my ($round) = @_;
        my @nodes = shuffle $round->nodes;
        my @far = grep { my $way = abs $_->[0] - $_->[1]; $way > 1 && $way < $#nodes } pairs(0 .. $#nodes);
        $round->cut(@far ? map { both($nodes[ $_->[0] ], $nodes[ $_->[1] ]) } @far : both(@nodes[ 0, 1 ]));
    },
    deaf_leader => sub {
        my ($round) = @_;
        my $leader = $round->leader;
        $round->cut(map { [$_, $leader] } grep { $_ != $leader } $round->nodes);
    },
    mute_leader => sub {
        my ($round) = @_;
        my $leader = $round->leader;
        $round->cut(map { [$leader, $_] } grep { $_ != $leader } $round->nodes);
    },
    one_way => sub {
        my ($round) = @_;
        my @ways = shuffle map { [@$_], [reverse @$_] } pairs($round->nodes);
        $round->cut(@ways[ 0 .. int(@ways / 3) ]);
    },
    loss => sub {
        my ($round) = @_;
        lose_some(10 + int rand 30);
        $round->hold(1, 2.5);
    },
    slow_link => sub {
        my ($round) = @_;
        slow_link($round->any->{number}, 200 + int rand 2000);
        $round->hold(0.5, 2);
    },
    # Until a leader said so: one that was just deposed has nothing to write.
    disk_full => sub {
        my ($round) = @_;
        my $before = $round->{full};
        for (1 .. 4) {
            $round->disk_full;
            last if $round->{full} > $before;
            $round->hold(0.3, 0.6);
        }
    },
    power => sub {
        my ($round) = @_;
        $round->power_cut($round->any);
    },
    power_leader => sub {
        my ($round) = @_;
        $round->power_cut($round->leader);
    },
    power_all => sub {
        my ($round) = @_;
        $round->power_cut(shuffle $round->nodes);
    },
    # A disk that is replaced by an empty one: the node comes back as another. Never two of them at once, which is more
    # than a minority of three.
    wipe => sub {
        my ($round) = @_;
        my $node = $round->any;
        $round->settled('wipe');
        $node->kill9;
        remove_tree($node->{data});
        $node->start;
        $round->hold(0.3, 0.6);
    },
);

sub pairs {
    my (@list) = @_;
    return map { my $i = $_; map { [$list[$i], $list[$_]] } $i + 1 .. $#list } 0 .. $#list;
}

sub both { my ($one, $other) = @_; return ([$one, $other], [$other, $one]) }

# --- a round ---

sub nodes { return @{ $_[0]{nodes} } }
sub any { my ($self) = @_; return $self->{nodes}[rand @{ $self->{nodes} }] }
sub hold { my ($self, $from, $to) = @_; Cluster::pause($from + rand($to - $from)) }

# Who leads; anybody where nobody says so within a moment.
sub leader {
    my ($self) = @_;
    my $until = time + 1;
    while (time < $until) {
        for my $node (shuffle $self->nodes) {
            next unless $node->running;
            my $health = eval { $node->health(0.3) } or next;
            return $node if $health->{role} eq 'leader';
        }
    }
    return $self->any;
}

sub cut {
    my ($self, @ways) = @_;
    lose(map { [$_->[0]{number}, $_->[1]{number}] } @ways);
    $self->hold(0.6, 1.8);
}

# The leader's disk is full, at times another's too. More is written than has room in what is allocated already.
sub disk_full {
    my ($self) = @_;
    my $leader = $self->leader;
    my @full = rand() < 0.5 ? $leader : ($leader, $self->any);
    $_->{disk_of}->fill(1 << 20) for @full;
    my ($connection, $until) = ($leader->connect, time + 3);
    my $value = 'v' x 500_000;
    for (my $i = 0; $connection && time < $until; $i++) {
        $connection->send_request(POST => '/set', body => qq({"key":"fill-) . $i % 4 . qq(","value":"$value"}));
        my $reply = $connection->response(seconds => 3) or last;
        $self->{full}++ if $reply->{status} == 507;
        last if $reply->{status} != 200;
    }
    $self->hold(0.2, 0.6);
    $_->{disk_of}->free for @full;
}

sub power_cut {
    my ($self, @nodes) = @_;
    $_->{disk_of}->cut_power for @nodes;
    Cluster::pause(rand 0.05);
    for my $node (@nodes) {
        $node->signal('KILL') if $node->running;
        $node->{asked} = 1;
    }
    for my $node (@nodes) {
        poll(sub { !$node->running }, "$node->{name} to end");
        $node->{disk_of}->power_on;
        $node->start;
    }
    $self->hold(0.3, 1);
}

sub new {
    my ($class, %options) = @_;
    my $folder = "$options{keep}/$options{seed}";
    remove_tree($folder);
    make_path($folder);
    my $self = bless { %options, folder => $folder, nodes => [], full => 0 }, $class;
    srand $self->{seed};
    my @faults = grep { !$self->{faults} || $self->{faults}{$_} } grep { $self->{power} || !/^power/ } sort keys %fault;
    $self->{order} = [shuffle @faults];
    my $cluster = $self->{cluster} = Cluster->new;
    for my $number (1 .. $self->{count}) {
        my @prefix = Nemesis::Net::new_host($number);
        my $disk = Nemesis::Disk->new($cluster->{directory}, "node$number", $disk_size, $self->{power});
        my $node = $cluster->node(
            name => "node$number", bind => node_address($number), port => 8000, api => 9000, data => "$disk->{point}/data",
            leader => $number == 1, args => ['-ack', $self->{ack}, '-id', sprintf('nemesis-node--%02d', $number)], prefix => \@prefix);
        $node->{number} = $number;
        $node->{disk_of} = $disk;
        push @{ $self->{nodes} }, $node;
    }
    return $self;
}

# All nodes vote, and the leader's writes reach all.
sub settled {
    my ($self, $what) = @_;
    my $count = $self->{count};
    poll(sub {
            for my $node ($self->nodes) {
                die "$node->{name} ended by itself" unless $node->running;
                my $reply = $node->set("settled-$what" => 'x', query => '?ack=all', seconds => 6);
                return 0 unless $reply && $reply->{status} == 200 && ($reply->header('KV-Acks') // '') eq "$count/$count";
            }
            return 1;
        }, "all nodes to vote ($what)", 60);
}

sub clients_start {
    my ($self) = @_;
    my $begun = Nemesis::Client::now_us();
    $self->{clients} = [map {
            Nemesis::Client->start(nodes => $self->{nodes}, file => "$self->{folder}/client-$_", process => $_, begun => $begun,
                seed => $self->{seed} * 100 + $_, ack => $self->{ack})
        } 1 .. $clients];
}

sub fault {
    my ($self, $name) = @_;
    my $from = time;
    $fault{$name}->($self);
    heal_links(1 .. $self->{count});
    $self->{times}{$name}++;
    $self->hold(0.2, 0.6);
    $self->trouble(sprintf '%s, %.1f s', $name, time - $from);
}

sub trouble {
    my ($self, $text) = @_;
    open my $file, '>>', "$self->{folder}/faults" or die "cannot keep the faults: $!";
    printf {$file} "%d %s\n", Nemesis::Client::now_us(), $text;
}

# One file of all that was recorded.
sub history {
    my ($self) = @_;
    my @lines = map { split /\n/, slurp($_) } sort glob "$self->{folder}/client-*";
    my %keys = map { /\bkey=(\S+)/ ? ($1 => 1) : () } @lines;
    my $end = "$self->{folder}/client-end";
    Nemesis::Client->read_all($self->leader, $end, $clients + 1, sort keys %keys);
    push @lines, split /\n/, slurp($end);
    spew("$self->{folder}/history", join "\n", 'kvnode-history 1', @lines, '');
    return @lines;
}

# What the history holds, by the names of %floor.
sub tally {
    my ($self, @lines) = @_;
    my (%tally, %pairs);
    for my $line (@lines) {
        my ($kind) = $line =~ /^(\w+)/;
        my ($outcome) = $line =~ / (ok|failed|refused|unknown)\b/;
        $tally{"$kind $outcome"}++;
        $tally{$outcome}++;
        $tally{'linearizable ok'}++ if $line =~ / linearizable\b/ && $outcome eq 'ok';
        $tally{staleness}++ if $line =~ / staleness-ms=/;
        next unless $line =~ / client=(\w+) request=(\w+)/;
        $tally{'pair ok'}++ if $outcome eq 'ok';
        $tally{'pair again'}++ if $pairs{"$1 $2"}++ && $outcome =~ /ok|failed/;
    }
    my %terms = map { /\betag=(\d+)\./ ? ($1 => 1) : () } @lines;
    $tally{leaders} = keys %terms;
    return \%tally;
}

sub play {
    my ($self) = @_;
    $_->start for $self->nodes;
    $self->settled('start');
    $self->clients_start;
    my $until = $self->{until} // 0;
    do { $self->fault($_) for shuffle @{ $self->{order} } } while time < $until;
    $self->settled('end');
    my @ended = grep { !$_->end } @{ $self->{clients} };
    is(scalar @ended, 0, 'every client went on to the end');
    my @lines = $self->history;
    my $judge = Cluster::binary('tests/check/judge');
    my ($status, $said) = Cluster::run([$judge, "$self->{folder}/history"], seconds => 300);
    is($status, 0, 'the history is that of the store that was promised') or diag $said;
    my ($listing, @others) = map { ($_->request(GET => '/keys') // { body => 'none' })->{body} } $self->nodes;
    is(scalar(grep { $_ ne $listing } @others), 0, 'all nodes have the same keys');
    return $self->floors($self->tally(@lines));
}

sub floors {
    my ($self, $tally) = @_;
    my @missed = grep { ($tally->{$_} // 0) < $floor{$_} } sort keys %floor;
    is(join(', ', map { sprintf '%s: %d of %d', $_, $tally->{$_} // 0, $floor{$_} } @missed), '', 'enough of each outcome')
        unless $self->{faults};
    my $times = $self->{times};
    is(join(' ', grep { !$times->{$_} } @{ $self->{order} }), '', 'each fault occurred');
    cmp_ok(lost_packets(), '>', 0, 'links lost packets') if $times->{halves};
    cmp_ok($self->{full}, '>', 0, 'a full disk was answered for with 507') if $times->{disk_full};
    diag join ', ', map { "$_: $tally->{$_}" } sort keys %$tally;
}

# What the nodes and links are like when a round has failed.
sub keep_state {
    my ($self) = @_;
    my $state = join '', map { "\$ $_\n" . `$_ 2>&1` } 'nft list ruleset', 'tc qdisc show';
    for my $node (grep { $_->running } $self->nodes) {
        for my $route (qw(/health /cluster/nodes /cluster /metrics)) {
            my $reply = eval { $node->request(GET => $route, seconds => 3) };
            $state .= "$node->{name} $route: " . ($reply ? "$reply->{status} $reply->{body}\n" : "no answer\n");
        }
    }
    spew("$self->{folder}/state", $state);
}

# The nodes and what they stood on go.
sub end {
    my ($self) = @_;
    my @wrong = grep { $_->ended_unasked } $self->nodes;
    is(join(' ', map { "$_->{name} ($_->{status})" } @wrong), '', 'no node ended by itself');
    $_->kill9 for grep { $_->running } $self->nodes;
    is(join(' ', map { $_->{name} } grep { $_->log =~ /AddressSanitizer|runtime error:|Assertion .* failed/ } $self->nodes), '',
        'no log holds a report of a sanitizer or a failed assertion');
    for my $node ($self->nodes) {
        $node->{disk_of}->remove;
        Nemesis::Net::end_host($node->{number});
        spew("$self->{folder}/$node->{name}.log", $node->log);
    }
}

# The program of a test file: rounds of groups of so many nodes.
sub rounds {
    my ($class, %options) = @_;
    my $keep = abs_path($ENV{BUILD} || 'build') . '/nemesis';
    make_path($keep);
    my $minutes = $ENV{NEMESIS_MINUTES} || 0;
    my $until = time + 60 * $minutes;
    my $faults = $ENV{NEMESIS_FAULTS};
    my $power = Nemesis::Disk->power_possible($ENV{TMPDIR});
    diag "left out: power cuts. $@" unless $power;
    for (my $round = 0; $round == 0 || time < $until; $round++) {
        my $seed = $ENV{NEMESIS_SEED} // int(1000 * time) % 1_000_000_000;
        my $ack = $ENV{NEMESIS_ACK} || ($round == 0 ? $options{ack} : (qw(quorum async all))[$seed % 3]);
        subtest "seed $seed: $options{nodes} nodes, -ack $ack" => sub {
            my $self = $class->new(
                seed => $seed, count => $options{nodes}, ack => $ack, keep => $keep, until => $minutes && time + 60, power => $power,
                faults => $faults && { map { $_ => 1 } split /,/, $faults });
            eval { $self->play; 1 } or fail("round: $@");
            $self->keep_state unless Test::More->builder->is_passing;
            $self->end;
            if (Test::More->builder->is_passing && !$ENV{NEMESIS_KEEP}) {
                remove_tree($self->{folder});
            } else {
                diag "NEMESIS_SEED=$seed NEMESIS_ACK=$ack $0; the history, the faults and the logs are in $self->{folder}";
            }
        } or last;
    }
    finish();
}

1;
