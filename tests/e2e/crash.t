# Nodes are killed (kill -9) again and again while writers go on through all of them. What was answered must be there
# afterwards: in a quorum group always; in an async group there, or in the ledger of rejected writes of a node.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use List::Util qw(shuffle);
use Test::More;
use Cluster;

my $rounds = $ENV{ROUNDS} || 20;

# The values of many keys, read in one go; undef for a missing one.
sub values_of {
    my ($node, @keys) = @_;
    my ($connection, @values) = $node->connect;
    while (my @part = splice @keys, 0, 100) {
        $connection->send(join '', map { $connection->request_text(GET => "/get?key=$_") } @part);
        for (@part) {
            my $reply = $connection->response or die 'no answer';
            push @values, $reply->{status} == 200 ? $reply->json->{value} : undef;
        }
    }
    return @values;
}

sub listing {
    my ($node, $query) = @_;
    my $reply = $node->request(GET => '/keys' . ($query // ''));
    return $reply && $reply->{status} == 200 ? $reply->{body} : '';
}

sub whom {
    my ($cluster, $round, @nodes) = @_;
    return @nodes if $round % 4 == 0;
    my ($leader) = $cluster->leader;
    return $leader if $round % 4 == 1;
    return (grep { $_ != $leader } shuffle @nodes)[0] if $round % 4 == 2;
    return (shuffle @nodes)[ 0, 1 ];
}

# The leader answers on its own, is killed, and a new one is elected before it comes back: what it answered is overruled.
sub depose {
    my ($cluster, $load, @nodes) = @_;
    my ($leader) = $cluster->leader;
    my @others = grep { $_ != $leader } @nodes;
    $_->kill9 for @others;
    my $answered = $load->answered;
    poll(sub { $load->answered >= $answered + 10 }, 'the leader to answer alone');
    $leader->kill9;
    $_->start for @others;
    my $new = $cluster->settle(@others);
    $new->set("overruling-$answered" => 'write');
    $leader->start;
    $cluster->settle;
}

for my $mode ('async', 'quorum') {
    subtest "$mode: an answered write survives kill -9 of any node and of all" => sub {
        my $cluster = Cluster->new;
        my @nodes = $cluster->start(3, -ack => $mode, -fsync => 'always');
        poll(sub { ($nodes[0]->set(voters => 'x', query => '?ack=all')->header('KV-Acks') // '') eq '3/3' }, 'three voters');
        my $load = Cluster::Load->start($cluster, \@nodes);
        for my $round (1 .. $rounds) {
            $load->wait_for(5);
            if ($mode eq 'async' && $round % 5 == 3) {
                depose($cluster, $load, @nodes);
                next;
            }
            my @killed = whom($cluster, $round, @nodes);
            $_->signal('KILL') for @killed;
            $_->ended for @killed;
            $_->start for shuffle @killed;
            $cluster->settle;
        }
        $load->wait_for(5);
        my @records = $load->stop;
        my @answered = $load->answered;
        my $leader = $cluster->settle;
        is($leader->set(last => 'one', query => '?ack=all')->{status}, 200, 'the group goes on');
        my $all = listing($leader, '?consistency=linearizable');
        for my $node (@nodes) {
            poll(sub { listing($node) eq $all }, "$node->{name} to have the same keys");
            pass("$node->{name} has the same keys as the others");
        }
        cmp_ok(scalar @answered, '>', $rounds * 15, scalar(@answered) . ' writes were answered');
        my @values = values_of($leader, @answered);
        my @missing = grep { !defined $values[$_] } 0 .. $#answered;
        my @wrong = grep { defined $values[$_] && $values[$_] ne $answered[$_] } 0 .. $#answered;
        is(scalar @wrong, 0, 'every value is the one that was written');
        my $ledger = join '', map { Cluster::slurp("$_->{data}/rejected") } @nodes;
        my @lost = $mode eq 'async' ? grep { index($ledger, $answered[$_]) < 0 } @missing : @missing;
        is(join(' ', map { $answered[$_] } @lost), '',
            $mode eq 'async' ? 'every answered write is there or in a ledger' : 'every answered write is there');
        cmp_ok(@missing - @lost, '>=', 10 * int(($rounds + 2) / 5), 'some were overruled, and are in a ledger')
            if $mode eq 'async';
        diag sprintf '%s: %d answered, %d of them in a ledger, %d not answered with 200', $mode, scalar @answered,
            @missing - @lost, @records - @answered;
        my %status;
        $status{ $_->[1] || $_->[2] }++ for @records;
        diag join ', ', map { "$_: $status{$_}" } sort keys %status;
        is($status{silent} // 0, 0, 'no request was left without an answer or an end of its connection');
        $_->stop for @nodes;
    };
}

for my $when ('100ms', 'never') {
    subtest "-fsync $when: a crash of the process alone loses nothing" => sub {
        my $cluster = Cluster->new;
        my ($node) = $cluster->start(1, -fsync => $when);
        my $load = Cluster::Load->start($cluster, [($node) x 3]);
        for my $round (1 .. 5) {
            $load->wait_for(20);
            $node->kill9;
            $node->start;
            $cluster->settle;
        }
        $load->stop;
        my @answered = $load->answered;
        my @values = values_of($node, @answered);
        is(scalar(grep { ($values[$_] // '') ne $answered[$_] } 0 .. $#answered), 0, @answered . ' answered writes are there');
        $node->stop;
    };
}

# A leader that is cut off answers writes that the others overrule: they are in its ledger.
subtest 'async: what an isolated leader answered and lost is in its ledger' => sub {
    my $cluster = Cluster->new;
    my @nodes = $cluster->start(3);
    poll(sub { ($nodes[0]->set(voters => 'x', query => '?ack=all')->header('KV-Acks') // '') eq '3/3' }, 'three voters');
    my $old = $cluster->leader;
    my @others = grep { $_ != $old } @nodes;
    $_->kill9 for @others;
    poll(sub { $old->health->{status} eq 'degraded' }, 'the leader to notice');
    my $lost = "lost-$$-" . time;
    is($old->set($lost => $lost)->{status}, 200, 'the leader alone answers');
    $old->kill9;
    $_->start for @others;
    my $new = $cluster->settle(@others);
    is($new->set(overruling => 'write')->{status}, 200, 'a new leader goes on without it');
    is($new->get($lost)->{status}, 404, 'the write is not there');
    $old->start;
    $cluster->settle;
    poll(sub { ($old->value('overruling') // '') eq 'write' }, 'the old leader to follow');
    is($old->get($lost)->{status}, 404, 'nor on the old leader any more');
    like(Cluster::slurp("$old->{data}/rejected"), qr/\Q$lost\E/, 'but it is kept in its ledger');
    like(($old->events('writes_overruled'))[0], qr{\S}, 'and its log says so');
    $_->stop for @nodes;
};

finish();
