# What replies say of themselves: every header of every kind of reply, KV-After, ?explain=1 and -route.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Time::HiRes qw(time);
use Cluster;

sub started {
    my ($count, @args) = @_;
    my $cluster = Cluster->new;
    my @nodes = $cluster->start($count, @args);
    $nodes[0]->all_vote($count);
    $_->{id} = $_->id for @nodes;
    my $leader = $cluster->leader;
    return ($cluster, $leader, grep { $_ != $leader } @nodes);
}

sub stop_all { $_->signal('CONT'), $_->kill9 for grep { $_->running } @_ }

# The headers named, as "name=value ...", '-' where there is none.
sub said {
    my ($reply, @names) = @_;
    return join ' ', map { "$_=" . ($reply->header($_) // '-') } @names;
}

sub after { my ($node, $position, $target) = @_; $node->request(GET => $target // '/get?key=k', headers => ["KV-After: $position"], seconds => 15) }

subtest 'a write says where it stands and who had it, through whichever node it came' => sub {
    my ($cluster, $leader, $follower, $far) = started(3);
    for my $node ($leader, $follower) {
        my $reply = $node->set(k => 'v');
        my ($term, $index) = $reply->header('KV-Position') =~ /^0:(\d+)\.(\d+)$/;
        ok($index, 'KV-Position');
        is($reply->header('ETag'), qq("$term.$index"), 'the version is the position');
        like($reply->header('KV-Acks'), qr{^[123]/3$}, 'KV-Acks');
        is(said($reply, qw(KV-Node KV-Group KV-Degraded KV-Staleness-Ms Retry-After)),
            "KV-Node=$leader->{id} KV-Group=0 KV-Degraded=- KV-Staleness-Ms=- Retry-After=-", 'the leader decided');
        like($node->set(k => 'v', query => '?ack=quorum')->header('KV-Acks'), qr{^[23]/3$}, 'a majority had it');
        is($node->set(k => 'v', query => '?ack=all')->header('KV-Acks'), '3/3', 'all had it');
        $reply = $node->delete('k');
        is(said($reply, 'ETag'), 'ETag=-', 'what is deleted has no version');
        like($reply->header('KV-Position'), qr/^0:\d+\.\d+$/, 'but a position');
        my $etag = $node->set(k => 'v')->header('ETag');
        $reply = $node->set(k => 'w', headers => ['If-None-Match: *']);
        is("$reply->{status} " . said($reply, 'ETag', 'KV-Node'), "412 ETag=$etag KV-Node=$leader->{id}", 'a refused condition');
        like(said($reply, 'KV-Position', 'KV-Acks'), qr{^KV-Position=0:\d+\.\d+ KV-Acks=[123]/3$}, 'has a place in the log');
    }
    stop_all($leader, $follower, $far);
};

subtest 'a write that was not confirmed in time says where it stands and who had it' => sub {
    my ($cluster, $leader, $follower, $far) = started(3);
    $far->signal('STOP');
    for my $node ($leader, $follower) {
        my $reply = $node->request(POST => '/set?ack=all', body => '{"key":"k","value":"late"}', seconds => 15);
        is($reply->{status}, 504, 'the deadline') or next;
        is($reply->json->{error}, 'outcome_unknown', 'which may have happened');
        like($reply->header('KV-Position'), qr/^0:\d+\.\d+$/, 'its position, through ' . $node->{name});
        is(said($reply, qw(KV-Acks KV-Node)), "KV-Acks=2/3 KV-Node=$leader->{id}", 'two of three had it');
    }
    stop_all($leader, $follower, $far);
};

subtest 'reads say who answered, how old it may be, and whether a majority is there' => sub {
    my ($cluster, $leader, $follower, $far) = started(3);
    my $etag = $leader->set(k => 'v', query => '?ack=all')->header('ETag');
    is(said($leader->get('k'), qw(ETag KV-Node KV-Position KV-Acks KV-Staleness-Ms KV-Degraded)),
        "ETag=$etag KV-Node=$leader->{id} KV-Position=- KV-Acks=- KV-Staleness-Ms=- KV-Degraded=-", 'the leader');
    poll(sub { ($follower->value('k') // '') eq 'v' }, 'the value on the follower');
    for my $target ('/get?key=k', '/get?key=no', '/keys', '/get?key=k&consistency=linearizable') {
        my $reply = $follower->request(GET => $target);
        like(said($reply, 'KV-Staleness-Ms'), qr/=\d+$/, "$target of a follower: an age");
        cmp_ok($reply->header('KV-Staleness-Ms'), '<', 1000, 'which is small');
        is($reply->header('KV-Node'), $follower->{id}, 'it answered itself');
    }
    $_->signal('STOP') for $follower, $far;
    poll(sub { ($leader->get('k')->header('KV-Degraded') // '') eq 'no-majority' }, 'KV-Degraded');
    my $reply = $leader->set(k => 'alone');
    is(said($reply, qw(KV-Degraded KV-Acks)), 'KV-Degraded=no-majority KV-Acks=1/3', 'a write alone');
    $reply = $leader->set(k => 'alone', query => '?ack=quorum');
    is("$reply->{status} " . said($reply, qw(KV-Position KV-Acks)), '503 KV-Position=- KV-Acks=-', 'one that was not appended');
    $_->signal('CONT') for $follower, $far;
    $leader->signal('STOP');
    poll(sub { my $old = $far->get('k')->header('KV-Staleness-Ms'); $old eq 'unknown' || $old >= 0 }, 'an answer');
    stop_all($leader, $follower, $far);
};

subtest 'KV-After: reads of one\'s own writes on any node' => sub {
    my ($cluster, $leader, $follower, $far) = started(3);
    for my $number (1 .. 100) {
        my $position = $leader->set(k => $number)->header('KV-Position');
        my $reply = after($follower, $position);
        $number == $_ and is($reply->json->{value}, $number, "write $number") for 1, 50, 100;
        last unless $reply->{status} == 200 && $reply->json->{value} == $number or fail("write $number");
    }
    my $position = $leader->set(listed => 'x')->header('KV-Position');
    ok((grep { $_ eq 'listed' } @{ after($far, $position, '/keys')->json->{keys} }), 'in a listing');
    is(after($far, $position, '/get?key=listed&consistency=linearizable')->json->{value}, 'x', 'and linearizable');
    my ($term, $index) = $position =~ /:(\d+)\.(\d+)/;
    is(after($follower, "1:$term.$index")->{status}, 400, 'a position of another group');
    is(after($follower, '0:x')->{status}, 400, 'what is no position');
    my $reply = $leader->set(k => 'v', headers => ["KV-After: $position"]);
    is("$reply->{status} " . $reply->json->{error}, '400 bad_parameter', 'a write does not wait');
    my $other = $term + 1;
    $reply = after($follower, "0:$other.$index");
    is("$reply->{status} " . $reply->json->{error}, '409 overruled', 'another entry stands there');
    my $from = time;
    my $ahead = $index + 1000;
    $reply = after($follower, "0:$term.$ahead");
    is("$reply->{status} " . $reply->json->{error}, '504 deadline', 'a position that does not come');
    cmp_ok(time - $from, '>', 4, 'was waited for');
    my $connection = $follower->connect;
    my $next = $index + 2;
    $connection->send_request(GET => '/get?key=woken', headers => ["KV-After: 0:$term.$next"]);
    $leader->set("woken" => 'yes') for 1 .. 2;
    is($connection->response->json->{value}, 'yes', 'a read waits and goes on');
    stop_all($leader, $follower, $far);
};

subtest 'KV-After: a write that a new leader overruled' => sub {
    my ($cluster, $leader, $follower, $far) = started(3);
    $_->signal('STOP') for $follower, $far;
    my @positions = map { $leader->set(k => "lost-$_")->header('KV-Position') } 1 .. 3;
    $leader->kill9;
    $_->signal('CONT') for $follower, $far;
    my $next = $cluster->leader($follower, $far);
    # What was on its way to the others when they stood still arrives, and then it is not lost.
    my $reply = after($next, $positions[2]);
    if ($reply->{status} == 200) {
        is($reply->json->{value}, 'lost-3', 'it reached the others after all');
    } else {
        is("$reply->{status} " . $reply->json->{error}, '409 overruled', 'it is told at once, also past the end of the log');
        $leader->start;
        $cluster->settle;
        is(after($leader, $positions[2])->{status}, 409, 'and by the node that had taken it');
    }
    stop_all($leader, $follower, $far);
};

subtest '?explain=1 shows where an answer came from' => sub {
    my ($cluster, $leader, $follower, $far) = started(3);
    my $reply = $follower->set(k => 'v', query => '?explain=1&ack=all');
    my $told = $reply->json->{explain};
    is("$told->{node} $told->{role} $told->{source} $told->{passed_on_by}", "$leader->{id} leader log $follower->{id}", 'a write');
    my ($index) = $reply->header('KV-Position') =~ /\.(\d+)$/;
    is(scalar(grep { $_->{durable} >= $index && $_->{acknowledged} >= $index && $_->{voter} } @{ $told->{replicas} }), 3,
        'each replica has it');
    $told = $leader->get('k', '&explain=1')->json->{explain};
    is("$told->{node} $told->{source}", "$leader->{id} own_state", 'a read');
    $told = $leader->get('k', '&explain=1&consistency=linearizable')->json->{explain};
    is("$told->{node} $told->{source}", "$leader->{id} majority", 'a linearizable one');
    $told = $follower->get('k', '&explain=1')->json->{explain};
    is("$told->{node} $told->{role} $told->{leader}", "$follower->{id} follower $leader->{id}", 'a follower\'s');
    ok(!exists $told->{replicas}, 'which does not know the others');
    $told = $follower->delete('k', '&explain=1')->json->{explain};
    is($told->{source}, 'log', 'a delete');
    $told = $follower->get('k', '&explain=1')->json;
    ok(exists $told->{explain}, 'what is not there is explained too') if $told->{error};
    ok(!exists $leader->get('k')->json->{explain}, 'nobody else is told');
    is($leader->get('k', '&explain=yes')->{status}, 400, 'it is 1 or 0');
    stop_all($leader, $follower, $far);
};

subtest '-route: a follower redirects or refuses' => sub {
    my $cluster = Cluster->new;
    my ($leader, $redirects, $refuses) = $cluster->start(1);
    ($redirects, $refuses) = map { $cluster->node(args => [ -route => $_ ]) } qw(redirect refuse);
    $_->start for $redirects, $refuses;
    $cluster->settle;
    $leader->all_vote(3);
    my $home = "127.0.0.1:$leader->{api}";
    my $reply = $redirects->request(DELETE => '/delete?key=a%20b%26c&ack=quorum');
    is($reply->{status}, 307, 'redirect');
    is($reply->header('Location'), "http://$home/delete?key=a%20b%26c&ack=quorum", 'to the same target');
    is($reply->json->{error}, 'redirect', 'with a body');
    is($redirects->get('k', '&consistency=linearizable')->{status}, 307, 'a linearizable read');
    $leader->set(k => 'v', query => '?ack=all');
    poll(sub { ($redirects->value('k') // '') eq 'v' }, 'a default read is its own');
    my ($status, $out) = run([ 'curl', '-sL', '--post307', '-X', 'POST', '-H', 'Content-Type: application/json', '-d',
        '{"key":"via","value":"curl"}', "http://127.0.0.1:$redirects->{api}/set" ]);
    is($out, '{"status":"ok","key":"via"}', 'curl -L follows it') if $status == 0;
    $reply = $refuses->set(k => 'v');
    is("$reply->{status} " . $reply->json->{error}, '421 wrong_node', 'refuse');
    like($reply->json->{message}, qr{\Q$home\E}, 'names the leader');
    is($refuses->get('k', '&consistency=linearizable')->{status}, 421, 'a linearizable read likewise');
    is($refuses->value('k'), 'v', 'a default read is its own');
    is($leader->set(k => 'w')->{status}, 200, 'the leader takes them');
    stop_all($leader, $redirects, $refuses);
};

finish();
