# A node whose log holds another value than the others', with a checksum that is right: found by the comparison of
# states, shown, out of service and replaced; of two voters only shown.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Cluster;

# The node has every write, stops without a snapshot, and finds another value in its log.
sub plant {
    my ($node, $leader) = @_;
    my $commit = metric($leader, 'kvnode_commit_index');
    poll(sub { metric($node, 'kvnode_applied_index') >= $commit }, 'the follower to have all');
    pause(0.3);    # its log tells the commit once the group is idle
    $node->kill9;
    my ($exit, $out) = run([Cluster::binary('tests/e2e/plant'), $node->{data}, 'right-value', 'wrong-value']);
    is("$exit $out", "0 1\n", 'one record is planted');
    return $node->start->up;
}

sub metric {
    my ($node, $name) = @_;
    my $reply = $node->request(GET => '/metrics') or return -1;
    return $reply->{body} =~ /^\Q$name\E (\S+)$/m ? $1 : -1;
}

sub value { my $reply = $_[0]->get('planted'); $reply && $reply->{status} == 200 ? $reply->json->{value} : undef }

subtest 'a follower' => sub {
    my $cluster = Cluster->new(args => [-ack => 'quorum']);
    my @nodes   = $cluster->start(3);
    my $leader  = $cluster->leader;
    my ($odd) = grep { $_ != $leader } @nodes;
    $leader->set('planted', 'right-value');
    plant($odd, $leader);
    my $health = poll(sub { my $h = $odd->health; $h && $h->{status} eq 'diverged' && $h }, 'it to be found');
    ok(!$health->{ready}, 'it is not ready');
    like($health->{reason}, qr/differ from those that a majority/, $health->{reason});
    is($odd->get('planted')->json->{error}, 'diverged', 'nothing is read from it');
    is(metric($odd, 'kvnode_diverged'), 1, 'the metric shows it');
    like(($leader->events('state_differs'))[0], qr/^the keys of node \S+ differ .* index \d+/, 'the leader names it');
    $odd->wait_event('state_agrees');
    poll(sub { ($odd->health || {})->{status} eq 'healthy' }, 'it to be healthy');
    is(value($odd), 'right-value', 'it has the others\' value');
    is(metric($odd, 'kvnode_diverged'), 0, 'the metric too');
    ok(metric($leader, 'kvnode_digest_compared_total') > 0, 'comparisons are counted');
    $odd->kill9;
    $odd->start->up;
    poll(sub { ($odd->health || {})->{status} eq 'healthy' }, 'it to be healthy after a restart');
    is(value($odd), 'right-value', 'and has it after a restart');
};

subtest 'one of two voters' => sub {
    my $cluster = Cluster->new(args => [-ack => 'quorum']);
    my @nodes   = $cluster->start(2);
    my $leader  = $cluster->leader;
    my ($other) = grep { $_ != $leader } @nodes;
    $leader->set('planted', 'right-value');
    plant($other, $leader);
    for my $node (@nodes) {
        my $health = poll(sub { my $h = $node->health; $h && $h->{status} eq 'diverged' && $h }, 'both to show it');
        ok(!exists $health->{ready} || $health->{ready}, 'it serves');
        like($health->{reason}, qr/no majority of them agrees.*; at index \d+, this node \S+ and node /, $health->{reason});
        ok($health->{fix}, $health->{fix});
        is(metric($node, 'kvnode_unequal'), 1, 'the metric shows it');
    }
    my ($serving) = grep { ($_->events('states_unequal'))[0] } @nodes;
    ok($serving, 'the leader\'s log too');
};

finish();
