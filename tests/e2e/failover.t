# What happens when a leader is gone, hangs, or hears nobody.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Time::HiRes qw(time);
use Cluster;

sub error_is {
    my ($reply, $statuses, $name) = @_;
    subtest $name => sub {
        ok($reply, 'there is an answer') or return;
        like($reply->{status}, qr/^(?:$statuses)$/, "status $statuses");
        my $json = $reply->json;
        like($json->{message}, qr/^\S/, "what happened: $json->{message}");
        like($json->{fix}, qr/\.$/, "what to do: $json->{fix}");
    };
}

# The replies of requests that are sent at the same time, each [method, target, options].
sub at_once {
    my ($node, @requests) = @_;
    my @connections = map { $node->connect } @requests;
    $connections[$_]->send_request(@{ $requests[$_] }) for 0 .. $#requests;
    return map { scalar $_->response } @connections;
}

sub set_request { [POST => '/set' . ($_[2] // ''), body => qq({"key":"$_[0]","value":"$_[1]"})] }
sub strict_read { [GET => "/get?key=$_[0]&consistency=linearizable"] }

# Seconds until a write through the node is answered with 200.
sub until_written {
    my ($node, $key, $from) = @_;
    poll(sub {
            my $reply = $node->set($key => $key);
            $reply && $reply->{status} == 200;
        }, 'a write after the failover');
    return time - $from;
}

subtest 'kill -9 of the leader: a follower leads and takes writes' => sub {
    my $cluster = Cluster->new;
    my @nodes = $cluster->start(3);
    $nodes[0]->all_vote(3);
    my @took;
    for my $round (1 .. 10) {
        my $leader = $cluster->leader;
        my ($near, $far) = grep { $_ != $leader } @nodes;
        $leader->set("before-$round" => 'kept', query => '?ack=quorum');
        my $from = time;
        $leader->signal('KILL');
        push @took, until_written($round % 2 ? $near : $far, "after-$round", $from);
        $leader->ended;
        $leader->start;
        $cluster->settle;
        is($leader->role, 'follower', "the old leader comes back as a follower ($round)");
        poll(sub { ($leader->value("after-$round") // '') eq "after-$round" }, 'the old leader to catch up');
    }
    my $leader = $cluster->leader;
    is($leader->value("before-$_", '&consistency=linearizable'), 'kept', "a write before failover $_ is there") for 1 .. 10;
    my $median = Cluster::median(@took);
    diag sprintf 'from kill -9 to a written key: median %.0f ms, worst %.0f ms of 10', 1000 * $median,
        1000 * (sort { $a <=> $b } @took)[-1];
    cmp_ok($median, '<', 1.5, 'the median of 10 is below 1.5 s');
    $_->kill9 for @nodes;
};

for my $mode ('async', 'quorum') {
    subtest "$mode: a leader that hangs is replaced, and steps down when it goes on" => sub {
        my $cluster = Cluster->new;
        my @nodes = $cluster->start(3, -ack => $mode);
        $nodes[0]->all_vote(3);
        my $old = $cluster->leader;
        my @others = grep { $_ != $old } @nodes;
        $old->set(before => 'kept', query => '?ack=quorum');
        $old->signal('STOP');
        my $from = time;
        my $new = $cluster->leader(@others);
        my $took = until_written($others[0], 'after', $from);
        diag sprintf '%s: from SIGSTOP to a written key: %.0f ms', $mode, 1000 * $took;
        is($new->value('before', '&consistency=linearizable'), 'kept', 'the new leader has what was answered before');
        my $waiting = $old->connect;    # its kernel accepts, and keeps what is sent
        $waiting->send_request(POST => '/set', body => '{"key":"late","value":"late"}');
        $waiting->send_request(GET => '/get?key=after&consistency=linearizable');
        $old->signal('CONT');
        my $late = $waiting->response;
        ok($late, 'a write that waited for the hanging leader is answered');
        my $read = $waiting->response;
        isnt($read && $read->{status}, 404, 'a linearizable read that waited does not miss the new leader\'s write');
        is($cluster->settle, $new, 'the new leader stays');
        is($old->role, 'follower', 'the old one follows');
        like(($old->events('steps_down'))[0], qr/no longer leads/, 'and says so');
        poll(sub { ($old->value('after') // '') eq 'after' }, 'the old leader to catch up');
        is($old->value('before'), 'kept', 'nothing that was answered is gone');
        my $there = ($new->value('late', '&consistency=linearizable') // '') eq 'late';
        my $ledger = Cluster::slurp("$old->{data}/rejected") =~ /late/;
        ok($late->{status} != 200 || $there || ($mode eq 'async' && $ledger),
            "the late write was answered $late->{status} and is " . ($there ? 'there' : $ledger ? 'in the ledger' : 'gone'));
        $_->kill9 for @nodes;
    };
}

subtest 'a write that was with a leader when it hung is answered soon after the next one leads, and its retry counts once' => sub {
    my $cluster = Cluster->new;
    my @nodes = $cluster->start(3, -ack => 'quorum');
    $nodes[0]->all_vote(3);
    my $old = $cluster->leader;
    my ($near) = grep { $_ != $old } @nodes;
    my @pair = (headers => [ 'KV-Client: test', 'KV-Request: 1' ]);
    $old->signal('STOP');
    my $from  = time;
    my $first = $near->set(stock => '41', @pair);
    my $took  = time - $from;
    error_is($first, '504', 'the outcome is unknown');
    is($first->json->{error}, 'outcome_unknown', 'which is said');
    diag sprintf 'from SIGSTOP to the answer: %.0f ms', 1000 * $took;
    cmp_ok($took, '<', 3, 'before the connection to it is given up');
    my $again = $near->set(stock => '41', @pair);
    is($again->{status}, 200, 'the retry is done');
    $old->signal('CONT');
    $cluster->settle;
    my $third = $near->set(stock => '41', @pair);
    is($third->header('KV-Position'), $again->header('KV-Position'), 'once');
    $_->kill9 for @nodes;
};

subtest 'of a group of two the survivor of a leader serves reads, and says how writes come back' => sub {
    my $cluster = Cluster->new;
    my @nodes = $cluster->start(2);
    $nodes[0]->all_vote(2);
    my ($leader) = $cluster->leader;
    my ($other) = grep { $_ != $leader } @nodes;
    like($leader->wait_event('two_voters'), qr/two voters .* cannot elect/, 'the log says so');
    $leader->set(k => 'v', query => '?ack=all');
    poll(sub { ($other->value('k') // '') eq 'v' }, 'the data');
    $leader->kill9;
    is($other->value('k'), 'v', 'a default read');
    my $staleness = sub { $other->get('k')->header('KV-Staleness-Ms') };
    my $before = $staleness->();
    ok(poll(sub { $staleness->() > $before + 500 }, 'the staleness to grow'), 'which says how stale it may be');
    my $from = time;
    my ($reply, $read) = at_once($other, set_request(k => 'w'), strict_read('k'));
    error_is($reply, 503, 'a write');
    cmp_ok(time - $from, '<', 2, 'without waiting for what cannot come');
    like($reply->json->{message}, qr/missing: node \S+ at 127\.0\.0\.1:$leader->{port}\b/, 'what is missing');
    like($reply->json->{fix}, qr/^Nothing was written\. Start the voters that are missing/, 'the mend is to start it');
    is($reply->header('Retry-After'), 1, 'it may be tried again');
    error_is($read, '503|504', 'a linearizable read');
    my $health = poll(sub { my $health = $other->health; $health->{status} eq 'no_leader' && $health }, 'no leader');
    like($health->{fix}, qr/^Start the voters that are missing/, '/health says so too');
    $other->kill9;
    $other->start->up;
    my $alone = $other->get('k');
    is($alone->json->{value}, 'v', 'a voter of two that restarts alone serves default reads at once');
    is($alone->header('KV-Staleness-Ms'), 'unknown', 'and says that it cannot know how stale they are');
    error_is($other->set(k => 'w'), 503, 'and refuses writes');
    $leader->start;
    $cluster->settle;
    is($other->set(k => 'x')->{status}, 200, 'once the other is there, writes go on');
    $_->kill9 for @nodes;
};

subtest 'an async leader without a majority goes on and says so' => sub {
    my $cluster = Cluster->new;
    my @nodes = $cluster->start(3);
    $nodes[0]->all_vote(3);
    my $leader = $cluster->leader;
    my @others = grep { $_ != $leader } @nodes;
    is($leader->get('voters')->header('KV-Degraded'), undef, 'with a majority there is no KV-Degraded');
    $_->kill9 for @others;
    my $health = poll(sub { my $health = $leader->health; $health->{status} eq 'degraded' && $health }, 'degraded');
    is($health->{role}, 'leader', 'it leads on');
    like($health->{reason}, qr/majority/, '/health says why');
    my $write = $leader->set(alone => 'yes');
    is($write->{status}, 200, 'a write is answered');
    is($write->header('KV-Degraded'), 'no-majority', 'with KV-Degraded');
    is($write->header('KV-Acks'), '1/3', 'and one acknowledgement');
    is($leader->get('alone')->header('KV-Degraded'), 'no-majority', 'a read too');
    my ($read, $strong) = at_once($leader, strict_read('alone'), set_request(alone => 'no', '?ack=quorum'));
    error_is($read, '503|504', 'a linearizable read is not answered');
    error_is($strong, '503|504', 'nor a write that wants a quorum');
    like(($leader->events('alone'))[0], qr/no majority/, 'the log says so');
    $others[0]->start;
    $cluster->settle($leader, $others[0]);
    is($leader->set(alone => 'no longer')->header('KV-Degraded'), undef, 'with one back, all is well');
    is($others[0]->value('alone', '&consistency=linearizable'), 'no longer', 'and its writes are replicated');
    $_->kill9 for grep { $_->running } @nodes;
};

subtest 'a quorum leader without a majority steps down' => sub {
    my $cluster = Cluster->new;
    my @nodes = $cluster->start(3, -ack => 'quorum');
    $nodes[0]->all_vote(3);
    my $leader = $cluster->leader;
    my @others = grep { $_ != $leader } @nodes;
    $leader->set(k => 'v');
    $_->kill9 for @others;
    my ($write, $read) = at_once($leader, set_request(k => 'w'), strict_read('k'));
    error_is($write, '503|504', 'a write is not answered');
    error_is($read, '503|504', 'nor a linearizable read');
    isnt($leader->health->{role}, 'leader', 'it has stepped down');
    is($leader->health->{status}, 'no_leader', '/health says so');
    like($leader->value('k'), qr/^[vw]$/, 'a default read is answered');
    error_is($leader->set(k => 'w'), '503', 'a later write is refused, surely not appended');
    $others[0]->start;
    $cluster->settle($leader, $others[0]);
    is($leader->set(k => 'x')->{status}, 200, 'with one back, writes go on');
    is($others[0]->value('k', '&consistency=linearizable'), 'x', 'and reads');
    $_->kill9 for grep { $_->running } @nodes;
};

finish();
