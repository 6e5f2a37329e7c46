# KV-Client and KV-Request: a retry has one effect and the first answer, through any node, after failovers, restarts and
# snapshots; GET /outcome tells what became of a request.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Cluster;

my $cluster = Cluster->new;
my @nodes   = $cluster->start(3);

sub pair { (headers => ["KV-Client: $_[0]", "KV-Request: $_[1]", @_[2 .. $#_]]) }

sub set_as { my ($node, $key, $value, @pair) = @_; return $node->set($key, $value, pair(@pair)) }

sub delete_as {
    my ($node, $key, @pair) = @_;
    return $node->request(DELETE => "/delete?key=$key", pair(@pair));
}

sub outcome {
    my ($node, $client, $request, $key) = @_;
    my $reply = $node->request(GET => "/outcome?client=$client&request=$request&key=$key") or return 'no answer';
    return "$reply->{status} $reply->{body}";
}

sub others { my ($node) = @_; return grep { $_ != $node } @nodes }

sub position { (my $text = $_[0]->header('KV-Position')) =~ s/\s//g; return $text }

subtest 'a retry gets the same answer on every node and leaves what was written since' => sub {
    my $leader = $cluster->leader;
    my $first  = set_as($leader, plain => 'one', 'c1', 'r1');
    is($first->{status}, 200, 'the first one is done');
    is($first->header('ETag'), '"' . (position($first) =~ /:(.*)/)[0] . '"', 'its version is its position');
    set_as($leader, plain => 'two', 'c1', 'r2');
    is(gist(set_as($_, plain => 'one', 'c1', 'r1')), gist($first), "the retry through $_->{name}") for @nodes;
    is($leader->value('plain'), 'two', 'it wrote nothing');
    my $gone = delete_as($leader, 'plain', 'c1', 'r3');
    is($gone->{status}, 200, 'a delete');
    set_as($leader, plain => 'three', 'c1', 'r4');
    is(gist(delete_as($_, 'plain', 'c1', 'r3')), gist($gone), "its retry through $_->{name}") for @nodes;
    is($leader->value('plain'), 'three', 'the key stands');
};

subtest 'a failed condition is the answer of every retry' => sub {
    my $leader = $cluster->leader;
    my $made   = set_as($leader, cond => 'a', 'c2', 'r1', 'If-None-Match: *');
    is($made->{status}, 200, 'create-only, the first time');
    is(gist(set_as($_, cond => 'a', 'c2', 'r1', 'If-None-Match: *')), gist($made), "retried through $_->{name}") for @nodes;
    my $failed = set_as($leader, cond => 'b', 'c2', 'r2', 'If-None-Match: *');
    is($failed->{status}, 412, 'another request fails');
    is($failed->header('ETag'), $made->header('ETag'), 'and names the version that stands');
    $leader->delete('cond');
    is(gist(set_as($_, cond => 'b', 'c2', 'r2', 'If-None-Match: *')), gist($failed), "retried through $_->{name}") for @nodes;
    is($leader->get('cond')->{status}, 404, 'though the condition would hold now');
};

subtest 'the same pair with another request is a conflict' => sub {
    my $leader = $cluster->leader;
    my $first  = set_as($leader, other => 'a', 'c3', 'r1');
    for my $node (@nodes) {
        for my $reply (set_as($node, other => 'b', 'c3', 'r1'), set_as($node, another => 'a', 'c3', 'r1'),
            set_as($node, other => 'a', 'c3', 'r1', 'If-None-Match: *'), delete_as($node, 'other', 'c3', 'r1')) {
            is($reply->{status} . ' ' . $reply->json->{error}, '409 request_reused', 'refused');
            is(position($reply), position($first), 'and names where the pair was used');
        }
    }
    is($leader->value('other'), 'a', 'nothing was written');
};

subtest 'such a write waits for a majority in an async group, and a weaker ?ack is raised' => sub {
    my $follower = (others($cluster->leader))[0];
    for my $query ('', '?ack=async', '?ack=quorum') {
        my $reply = $follower->set(acks => $query, query => $query, pair('c4', "r$query"));
        is($reply->{status}, 200, "answered ($query)");
        like($reply->header('KV-Acks'), qr{^[23]/3$}, 'a majority had it');
    }
};

subtest '/outcome tells the position and the result, on any node' => sub {
    my $leader = $cluster->leader;
    my $ok     = set_as($leader, out => 'a', 'c5', 'r1');
    my $failed = set_as($leader, out => 'b', 'c5', 'r2', 'If-None-Match: *');
    for my $node (@nodes) {
        is(outcome($node, 'c5', 'r1', 'out'),
            '200 {"outcome":"committed","position":"' . position($ok) . '","result":"ok"}', 'done');
        is(outcome($node, 'c5', 'r2', 'out'),
            '200 {"outcome":"committed","position":"' . position($failed) . '","result":"precondition_failed"}', 'failed');
        is(outcome($node, 'c5', 'r3', 'out'), '200 {"outcome":"unknown"}', 'never sent');
    }
};

subtest 'after kill -9 of the leader a retry gets the answer that was given' => sub {
    my $leader = $cluster->leader;
    my $first  = set_as($leader, failover => 'one', 'c6', 'r1', 'If-None-Match: *');
    is($first->{status}, 200, 'answered');
    $leader->kill9;
    for my $node (others($leader)) {
        is(gist(insist(sub { set_as($node, failover => 'one', 'c6', 'r1', 'If-None-Match: *') })), gist($first), "through $node->{name}");
        is($node->get('failover', '&consistency=linearizable')->header('ETag'), $first->header('ETag'), 'one effect');
    }
    $leader->start->up;
    $cluster->settle;
};

subtest 'a leader that dies before it answers: retries have one effect' => sub {
    for my $round (1 .. 4) {
        my $leader     = $cluster->leader;
        my $connection = $leader->connect;
        my @request    = (POST => '/set', body => text_of({ key => "crash$round", value => 'v' }), pair('c7', "r$round", 'If-None-Match: *'));
        $connection->send_request(@request);
        pause(0.001 * ($round - 1));
        $leader->kill9;
        my @survivors = others($leader);
        my @replies   = map { my $node = $_; insist(sub { $node->request(@request) }) } @survivors, @survivors;
        is($replies[0]{status}, 200, 'the retry is told of success, not of its own first attempt');
        is(gist($_), gist($replies[0]), 'every retry gets the same answer') for @replies;
        is($survivors[0]->get("crash$round", '&consistency=linearizable')->header('ETag'), $replies[0]->header('ETag'),
            'the version is that of the one effect');
        $leader->start->up;
        $cluster->settle;
    }
};

subtest 'retries that race have one effect' => sub {
    my @connections = map { my $node = $_; map { $node->connect } 1 .. 4 } @nodes;
    $_->send_request(POST => '/set', body => text_of({ key => 'race', value => 'v' }), pair('c8', 'r1', 'If-None-Match: *'))
        for @connections;
    my @gists = map { gist($_->response) } @connections;
    like($gists[0], qr/^200 /, 'done');
    is($_, $gists[0], 'the same answer') for @gists;
};

subtest 'the table survives kill -9 of all nodes, and a snapshot of all' => sub {
    my $leader = $cluster->leader;
    my $first  = set_as($leader, restart => 'one', 'c9', 'r1', 'If-None-Match: *');
    my $failed = set_as($leader, restart => 'two', 'c9', 'r2', 'If-None-Match: *');
    for my $way ('KILL', 'TERM') {
        $_->signal($way) for @nodes;
        $_->ended for @nodes;
        ok(-s "$_->{data}/snapshot", "$_->{name} left a snapshot") for $way eq 'TERM' ? @nodes : ();
        $_->start->up for @nodes;
        $cluster->settle;
        for my $node (@nodes) {
            is(gist(insist(sub { set_as($node, restart => 'one', 'c9', 'r1', 'If-None-Match: *') })), gist($first), "$way: done");
            is(gist(insist(sub { set_as($node, restart => 'two', 'c9', 'r2', 'If-None-Match: *') })), gist($failed), "$way: failed");
        }
    }
};

subtest 'a leader without a majority does not take such a write' => sub {
    my $leader = $cluster->leader;
    $_->signal('STOP') for others($leader);
    poll(sub { $leader->health->{status} eq 'degraded' }, 'the leader to see that it is alone');
    my $reply = set_as($leader, alone => 'v', 'c10', 'r1');
    is($reply->{status} . ' ' . $reply->json->{error}, '503 no_majority', 'refused');
    is($leader->set(alone => 'w')->{status}, 200, 'while a plain one goes on');
    $_->signal('CONT') for others($leader);
    $cluster->settle;
    my $retried = insist(sub { set_as($nodes[0], alone => 'v', 'c10', 'r1') });
    is($retried->{status}, 200, 'the retry is done');
};

finish();
