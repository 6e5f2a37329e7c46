# What a node says of itself: in each state that it can be in, /health, ready=1, the metrics, kvctl and every 503 agree,
# and name the mend.
use strict;
use warnings;
use File::Path qw(remove_tree);
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Time::HiRes qw(time);
use Cluster;

my %mounted;

END { run(['umount', $_]) for keys %mounted }

sub ready { $_[0]->request(GET => '/health?ready=1') }

# What all of them say, once it does not change while they are asked.
sub ask_all {
    my ($node, $status) = @_;
    my @said;
    poll(sub {
            my $health = $node->health;
            return if !$health || $health->{status} ne $status;
            my ($exit, $out) = run([Cluster::binary('kvctl'), '--server', "127.0.0.1:$node->{api}", 'cluster', 'status']);
            @said = ($health, ready($node), $node->request(GET => '/metrics')->{body}, $out);
            return text_of($node->health) eq text_of($health);
        }, "$node->{name} to be $status; it is " . text_of($node->health));
    return @said;
}

# The node becomes this, and everything that tells it agrees. Returns /health.
sub is_status {
    my ($node, $status, $ready) = @_;
    my ($health, $reply, $metrics, $out) = ask_all($node, $status);
    is($reply->{status}, $ready ? 200 : 503, "$status: ready=1");
    like($metrics, qr/^kvnode_ready @{[ $ready ? 1 : 0 ]}$/m, 'the metric agrees');
    like($metrics, qr/^kvnode_health\{status="$status"\} 1$/m, 'and names it');
    like($out, qr/^\S+ +$status /m, 'kvctl shows it');
    if ($status ne 'healthy') {
        ok($health->{reason} && $health->{fix}, "reason: $health->{reason}; fix: $health->{fix}");
        like($out, qr/^    \Q$health->{reason}\E\.\n    \Q$health->{fix}\E$/m, 'with what to do');
        is($reply->json->{message}, $health->{reason}, 'which ready=1 says too') unless $ready;
    }
    return $health;
}

subtest 'a fresh leader is ready when it serves' => sub {
    my $cluster = Cluster->new;
    my $node = $cluster->node(leader => 1)->start;
    my $connection = poll(sub { $node->connect }, 'the API');
    my %status;
    poll(sub {
            $connection->send_request(GET => '/health');
            my $health = $connection->response->json;
            $connection->send_request(GET => '/health?ready=1');
            my $ready = $connection->response->{status} == 200;
            $status{ $health->{status} } = 1 unless $ready;
            return $ready;
        }, 'the node to be ready');
    my $from = time;
    $connection->send_request(POST => '/set', body => '{"key":"k","value":"v"}');
    is($connection->response->{status}, 200, 'a write is taken');
    cmp_ok(time - $from, '<', 0.4, 'at once');
    is(join(' ', sort keys %status), 'joining waiting', 'before, it was not healthy');
    is_status($node, 'healthy', 1);
};

subtest 'README lists what a status can be' => sub {
    my $node = Cluster->new->node->start->up;
    my ($table) = Cluster::slurp("$FindBin::Bin/../../README.md") =~ /^\| `status` .*?\n((?:\|.*\n)+)/m;
    my %listed = map { $_ => 1 } map { /`(\w+)`/g } map { (split /\|/)[1] } split /\n/, $table;
    my %shown = map { $_ => 1 } $node->request(GET => '/metrics')->{body} =~ /^kvnode_health\{status="(\w+)"\}/mg;
    is(join(' ', sort keys %listed), join(' ', sort keys %shown), 'the metrics have the same');
};

subtest 'a node that waits to join says so' => sub {
    my $node = Cluster->new->node->start->up;
    $node->wait_event('waiting');
    like(is_status($node, 'waiting', 0)->{fix}, qr/start one of its nodes with -leader.*-peers.*-cluster/, 'and what to do');
};

subtest 'groups that come when the first one has keys are joining, and not ready' => sub {
    my $cluster = Cluster->new;
    my @nodes = map { $cluster->node(leader => 1, group => $_) } 0 .. 2;
    $nodes[0]->start->up;
    is($nodes[0]->set(k => 'v')->{status}, 200, 'a write as soon as the first node answers');
    $_->start for @nodes[1, 2];
    for my $node (@nodes[1, 2]) {
        $node->wait_event('joining');
        like(is_status($node, 'joining', 0)->{fix}, qr/^Use the nodes of the other groups\./, 'the mend');
        is($node->value('k'), 'v', 'it passes requests on');
    }
    is_status($nodes[0], 'healthy', 1);
};

subtest 'a voter that restarts alone names those it misses' => sub {
    my $cluster = Cluster->new(args => [-ack => 'quorum']);
    my @nodes = $cluster->start(3);
    $nodes[0]->set(k => 'v', query => '?ack=all');
    my @ids = map { $_->id } @nodes;
    $_->kill9 for @nodes;
    $nodes[2]->start->up;
    my $health = is_status($nodes[2], 'no_leader', 0);
    my $said = $nodes[2]->wait_event('no_majority');
    for my $i (0, 1) {
        my $missing = qr/node $ids[$i] at 127\.0\.0\.1:$nodes[$i]{port}\b/;
        like($health->{reason}, $missing, "/health names node " . ($i + 1));
        like($said, $missing, 'its log too');
        for my $request ([POST => '/set', body => '{"key":"k","value":"w"}'], [GET => '/get?key=k&consistency=linearizable'],
            [GET => '/keys?consistency=linearizable'], [POST => '/cluster/leave', body => qq({"id":"$ids[0]"})]) {
            my $from = time;
            my $reply = $nodes[2]->request(@$request);
            is($reply->{status}, 503, "$request->[0] $request->[1]");
            cmp_ok(time - $from, '<', 1, 'at once');
            like($reply->json->{message}, $missing, 'names it');
            my $unwritten = $request->[0] eq 'GET' ? '' : 'Nothing was written\. ';
            like($reply->json->{fix}, qr/^${unwritten}Start the voters/, 'and says what to do');
        }
    }
    like($nodes[2]->get('k')->{status}, qr/^(?:200|404)$/, 'default reads go on');
    $nodes[1]->start;
    is_status($nodes[2], 'healthy', 1);
};

subtest 'a dead leader is not shown as one' => sub {
    my $cluster = Cluster->new(args => [-voters => 1]);
    my ($leader, $learner) = map { $cluster->node(leader => $_ == 1) } 1 .. 2;
    $_->start->up for $leader, $learner;
    poll(sub { $learner->role eq 'learner' && $learner->health->{status} eq 'healthy' }, 'the learner');
    $leader->kill9;
    is_status($learner, 'no_leader', 0);
    is(join(' ', map { $_->{is_leader} ? $_->{node_id} : () } @{ $learner->cluster->{nodes} }), '', '/cluster shows none');
    is($learner->request(GET => '/cluster/nodes')->json->{leader}, undef, '/cluster/nodes neither');
    my ($exit, $out) = run([Cluster::binary('kvctl'), '--server', "127.0.0.1:$learner->{api}", 'cluster', 'status']);
    unlike($out, qr/ leader(?: \(asked\))?$/m, 'nor does kvctl') or diag $out;
};

subtest 'a leader whose disk is full says so' => sub {
    my $cluster = Cluster->new;
    my $folder = "$cluster->{directory}/small";
    mkdir $folder;
    my ($status, undef, $why) = run(['mount', '-t', 'tmpfs', '-o', 'size=160m', 'none', $folder]);
    plan skip_all => "no tmpfs can be mounted: $why" if $status ne '0' && !$ENV{CI};
    is($status, 0, 'a small disk') or return;
    $mounted{$folder} = 1;
    my $node = $cluster->node(leader => 1, data => "$folder/data")->start->up;
    is_status($node, 'healthy', 1);
    my ($free) = (split ' ', (run(['df', '--output=avail', '-k', $folder]))[1])[-1];
    run(['fallocate', '-l', ($free - 64) . 'KiB', "$folder/other"]);
    my $full = poll(sub { my $reply = $node->set(k => 'v' x 900_000); $reply->{status} != 200 && $reply }, 'a refusal');
    is($full->{status}, 507, 'a write gets 507');
    is_status($node, 'disk_full', 0);
    is($node->get('k')->{status}, 200, 'reads go on');
    unlink "$folder/other";
    is_status($node, 'healthy', 1);    # by itself: nobody writes to a node that is not ready
    is($node->set(k => 'v')->{status}, 200, 'writes go on');
    $node->kill9;
    (run(['umount', $folder]))[0] eq '0' and delete $mounted{$folder};
};

subtest 'a follower that can follow no further says so' => sub {
    my $cluster = Cluster->new(args => [-ack => 'quorum']);
    my @nodes = $cluster->start(3);
    $nodes[0]->set(k => '1', query => '?ack=all');
    $nodes[0]->all_vote(3);
    my $copy = sub { run(['cp', '-a', @_]) };
    $_->stop for @nodes;
    $copy->($_->{data}, "$_->{data}.old") for @nodes[0, 1];
    $_->start for @nodes;
    $cluster->settle;
    $nodes[0]->set(k => "2-$_", query => '?ack=all') for 1 .. 30;
    $_->kill9 for @nodes;
    for my $node (@nodes[0, 1]) {    # two disks that lost what they had synced
        remove_tree($node->{data});
        rename "$node->{data}.old", $node->{data} or die "cannot rename: $!";
    }
    for (1 .. 3) {    # into a later term than that of what was lost
        $_->start for @nodes[0, 1];
        $cluster->settle(@nodes[0, 1]);
        $_->kill9 for @nodes[0, 1];
    }
    $_->start for @nodes[0, 1];
    $cluster->settle(@nodes[0, 1]);
    $nodes[0]->set(k => "3-$_") for 1 .. 40;
    $nodes[2]->start->up;
    like(is_status($nodes[2], 'stuck', 0)->{fix}, qr/empty its data directory/, 'the mend');
    is_status($nodes[0], 'healthy', 1);
};

subtest 'a node outside its configuration says so' => sub {
    my $cluster = Cluster->new(args => [-voters => 1]);
    my $leader = $cluster->node(leader => 1)->start->up;
    poll(sub { ready($leader)->{status} == 200 }, 'the leader');
    $leader->set("k$_" => 'v' x 500_000) for 1 .. 24;    # more than is sent before an acknowledgement
    my $disk = Cluster::Disk->new($cluster);
    my $learner = $cluster->node(disk => $disk);
    $disk->order(slow => 'sync', 'log-', 12_000);    # it acknowledges the first part of the log only then
    $learner->start->up;
    my $health = poll(sub { my $health = $learner->health; $health->{keys} > 0 || $health->{status} eq 'catching_up' }, 'a part of the log');
    $leader->kill9;
    like(is_status($learner, 'outside', 0)->{fix}, qr/cluster\/join/, 'the mend');
    $disk->withdraw;
    $leader->start;
    is_status($learner, 'healthy', 1);
};

subtest 'whoever starts a node reads which store it serves' => sub {
    my $cluster = Cluster->new;
    my ($first, $second) = map { $cluster->node(leader => 1) } 1 .. 2;
    $first->start->up;
    like($first->wait_event('serving'), qr/^made a new store: cluster '\Q$cluster->{name}\E', group 0, .* no other members$/, 'a new one');
    $first->set("k$_" => 'v') for 1 .. 7;
    $second->start->up;
    my $line = $second->wait_event('serving');
    like($line, qr/^joined an existing store: cluster '\Q$cluster->{name}\E'/, 'somebody else\'s');
    like($line, qr/founded \d{4}-\d\d-\d\d \d\d:\d\d UTC, \d+ s ago, 7 keys/, 'with its age and its keys');
    like($line, qr/other members: node @{[ $first->id ]} at 127\.0\.0\.1:$first->{port}\b/, 'its members');
    like($line, qr/-cluster NAME/, 'and how to have one of one\'s own');
    poll(sub { $second->health->{status} eq 'healthy' }, 'health');
    is((($second->lines)[-1] // '') =~ /"event":"(\w+)"/ ? $1 : '', 'serving', 'it is the last line of the start');
    $second->kill9;
    $second->start;
    like($second->wait_event('serving'), qr/^serves the store of its data directory: .* 7 keys; other members/, 'its own');
};

finish();
