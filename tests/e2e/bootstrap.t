# -leader on every node, as a compose file has it: one group, however far apart the starts are.
#
# ROUNDS is how often every gap is tried for each way to find each other and each size (`make bootstrap` does it 25
# times: 100 for every gap). The starts of many clusters go on at once.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Time::HiRes qw(time);
use Cluster;

my $rounds = $ENV{ROUNDS} // 1;
my @gaps = (0, 0.05, 0.1, 0.25, 0.5, 1, 2, 5);

sub cluster_of {
    my ($count, $by_peers) = @_;
    my $cluster = Cluster->new;
    my @nodes = map { $cluster->node(leader => 1) } 1 .. $count;
    my $peers = join ',', map { "127.0.0.1:$_->{port}" } @nodes;
    for my $node ($by_peers ? @nodes : ()) {
        $node->{args} = ['-no-broadcast', -peers => $peers];
    }
    return $cluster;
}

# Starts the nodes of each cluster so many seconds one after the other, all clusters at once.
sub start_all {
    my (@trials) = @_;
    my $from = time;
    my @due;
    for my $trial (@trials) {
        my @nodes = @{ $trial->{order} };
        push @due, [$from + $_ * $trial->{gap}, $nodes[$_]] for 0 .. $#nodes;
    }
    for my $due (sort { $a->[0] <=> $b->[0] } @due) {
        my $wait = $due->[0] - time;
        pause($wait) if $wait > 0;
        $due->[1]->start;
    }
}

# One leader, and the others follow it; what one takes all have.
sub is_one {
    my ($trial) = @_;
    my @nodes = @{ $trial->{cluster}{nodes} };
    my $key = 'trial-' . $trial->{starts}++;
    return eval {
        my $leader = $trial->{cluster}->settle;
        my $acks = sprintf '%d/%d', (scalar @nodes) x 2;
        poll(sub { my $reply = $nodes[-1]->set($key => 'x', query => '?ack=all');
                $reply && ($reply->header('KV-Acks') // '') eq $acks }, "every one of the nodes to vote");
        poll(sub { ($_->value($key) // '') eq 'x' }, "the key at $_->{name}") for @nodes;
        1;
    } || do { diag "$trial->{name}: $@"; 0 };
}

sub end_all { $_->kill9 for grep { $_->running } map { @{ $_->{cluster}{nodes} } } @_ }

for my $by_peers (0, 1) {
    my (%one, %again, @names);
    for my $round (1 .. $rounds) {
        my @trials;
        for my $count (2, 3) {
            for my $gap (@gaps) {
                my $cluster = cluster_of($count, $by_peers);
                push @trials, { name => "$gap s apart", gap => $gap, cluster => $cluster, starts => 0,
                    order => [@{ $cluster->{nodes} }] };
            }
        }
        start_all(@trials);
        $one{ $_->{name} } += is_one($_) for @trials;
        end_all(@trials);
        $_->{order} = [reverse @{ $_->{order} }], $_->{gap} /= 4 for @trials;
        start_all(@trials);
        $again{ $_->{name} } += is_one($_) for @trials;
        end_all(@trials);
        @names = map { $_->{name} } @trials[ 0 .. $#gaps ];
    }
    my $how = $by_peers ? 'by -peers' : 'by broadcast';
    my $all = 2 * $rounds;
    is($one{$_}, $all, "nodes started $_ end as one group $how: $one{$_} of $all") for @names;
    is($again{$_}, $all, "and are one after a restart in the other order: $again{$_} of $all") for @names;
}

# Two nodes that each founded the group while they did not know of each other; each took so many keys.
sub founded_apart {
    my @keys = @_;
    my $cluster = Cluster->new(args => ['-no-broadcast']);
    my @nodes = map { $cluster->node(leader => 1) } 0, 1;
    $_->start->wait_event('founded') for @nodes;
    for my $i (0, 1) {
        for my $key (1 .. $keys[$i]) {
            is(insist(sub { $nodes[$i]->set("$i-$key" => 'x') })->{status}, 200, "node $i takes a write");
        }
    }
    $nodes[1]->kill9;
    $nodes[1]{args} = [-peers => "127.0.0.1:$nodes[0]{port}"];
    $nodes[1]->start;
    return ($cluster, @nodes);
}

subtest 'a founding without a key joins the one that has some, and nobody has to do anything' => sub {
    for my $keys ([3, 0], [0, 3]) {
        my ($cluster, @nodes) = founded_apart(@$keys);
        my ($with, $without) = $keys->[0] ? (0, 1) : (1, 0);
        $cluster->settle;
        $nodes[$without]->wait_event('start_over');
        poll(sub { ($nodes[$without]->value("$with-3") // '') eq 'x' }, 'the keys of the one that has some');
        pass("node $without has joined node $with");
        is(scalar $nodes[$with]->events('start_over'), 0, 'and not the other way round');
        $_->kill9 for @nodes;
    }
};

subtest 'two foundings that both hold keys stay two, and both say so' => sub {
    my ($cluster, @nodes) = founded_apart(1, 1);
    for my $i (0, 1) {
        like($nodes[$i]->wait_event('founded_twice'), qr/both hold keys: stop the nodes of the one you do not want/,
            "node $i says in its log what to do");
        my $health = poll(sub { my $h = $nodes[$i]->health; $h->{status} eq 'split' && $h }, '/health to say so');
        my $port = $nodes[1 - $i]{port};
        like($health->{reason}, qr/founded twice.*the other is at .*:$port/, "/health of node $i names the other");
        is($nodes[$i]->value("$i-1"), 'x', 'it goes on with its keys');
        is($nodes[$i]->value((1 - $i) . '-1'), undef, 'and with nobody else\'s');
    }
    $_->kill9 for @nodes;
};

finish();
