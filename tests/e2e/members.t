# Who belongs to a group: members that come and go by themselves and by hand, and what is refused.
use strict;
use warnings;
use File::Path qw(remove_tree);
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Time::HiRes qw(time);
use Cluster;

sub nodes_of { $_[0]->request(GET => '/cluster/nodes')->json }

# The member of this node, as another one lists it.
sub member {
    my ($asked, $node) = @_;
    my ($found) = grep { $_->{id} eq $node->{id} } @{ nodes_of($asked)->{members} };
    return $found;
}

sub change {
    my ($asked, $what, %body) = @_;
    return $asked->request(POST => "/cluster/$what", body => text_of(\%body), seconds => 15);
}

sub address { "127.0.0.1:$_[0]{port}" }

sub refused {
    my ($reply, $status, $error, $like, $name) = @_;
    subtest $name => sub {
        is($reply->{status}, $status, "status $status");
        is($reply->json->{error}, $error, $error);
        like($reply->json->{message}, $like, 'what happened: ' . $reply->json->{message});
        like($reply->json->{fix}, qr/\S.*\.$/, 'what to do');
    };
}

sub started {
    my ($count, @args) = @_;
    my $cluster = Cluster->new;
    my @nodes = $cluster->start($count, @args);
    $nodes[0]->all_vote($count > 3 ? 3 : $count) if $count < 5;
    $_->{id} = $_->id for @nodes;
    return ($cluster, @nodes);
}

sub stop_all { $_->kill9 for grep { $_->running } @_ }

subtest 'the members are listed by any node as the leader knows them' => sub {
    my ($cluster, @nodes) = started(4);
    my $leader = $cluster->leader;
    my ($learner) = grep { $_->role eq 'learner' } @nodes;
    $leader->set(k => 'v', query => '?ack=all');
    for my $asked (@nodes) {
        my $list = nodes_of($asked);
        is($list->{leader}, $leader->{id}, 'the leader');
        is($list->{seen_by}, $leader->{id}, 'asked was the leader');
        is(@{ $list->{members} }, 4, 'four members');
        ok($list->{committed}, 'committed');
        is("$list->{ack} $list->{voters_max} $list->{group}", 'async 5 0', 'the group');
    }
    poll(sub { !grep { $_->{lag} } @{ nodes_of($leader)->{members} } }, 'no lag');
    my $row = member($leader, $learner);
    is("$row->{role} $row->{state} $row->{address} $row->{api}",
        'learner connected ' . address($learner) . " 127.0.0.1:$learner->{api}", 'the learner');
    ok(!$row->{voter}, 'does not vote');
    $learner->kill9;
    poll(sub { member($leader, $learner)->{state} eq 'away' }, 'the learner away');
    cmp_ok(member($leader, $learner)->{heard_ms}, '>', 0, 'its silence is counted');
    stop_all(@nodes);
};

subtest 'a member leaves by hand, serves nothing, and joins again' => sub {
    my ($cluster, @nodes) = started(3);
    my $leader = $cluster->leader;
    my ($gone, $other) = grep { $_ != $leader } @nodes;
    $leader->set(before => 'leaving', query => '?ack=all');
    my $reply = change($other, leave => (id => $gone->{id}));
    is($reply->{status}, 200, 'a follower passes it to the leader');
    is_deeply($reply->json, { status => 'ok', id => $gone->{id} }, 'the answer');
    is($reply->header('KV-Node'), $leader->{id}, 'who decided');
    like($gone->wait_event('removed'), qr{POST /cluster/join}, 'it is told, and its log says what to do');
    my $health = $gone->health;
    is("$health->{status} $health->{role}", 'removed removed', '/health says so');
    refused($gone->get('before'), 503, 'removed', qr/removed/, 'reads are not answered from what it has left');
    refused($gone->get('before', '&consistency=linearizable'), 503, 'removed', qr/removed/, 'linearizable ones neither');
    refused($gone->request(GET => '/keys'), 503, 'removed', qr/removed/, 'nor listings');
    refused($gone->set(a => 1), 503, 'removed', qr/removed/, 'nor writes');
    is($leader->set(a => 1)->header('KV-Acks') =~ m{/(\d)}, 1, 'the group goes on');
    is_deeply([ map { $_->{id} } @{ nodes_of($leader)->{removed} } ], [ $gone->{id} ], 'it is listed as removed');
    $gone->stop;
    $gone->start->up;
    is($gone->health->{status}, 'removed', 'also after a restart');
    refused($gone->get('before'), 503, 'removed', qr/removed/, 'whose reads');
    $leader->set(after => 'leaving');
    is(member($leader, $gone), undef, 'and it does not come back by itself');
    $reply = change($other, join => (id => $gone->{id}, address => address($gone)));
    is_deeply($reply->json, { status => 'ok', id => $gone->{id}, role => 'learner' }, 'it joins as a learner');
    $leader->all_vote(3);
    is($gone->value('after', '&consistency=linearizable'), 'leaving', 'it has what it missed');
    is_deeply(nodes_of($leader)->{removed}, [], 'and is forgotten as removed');
    stop_all(@nodes);
};

subtest 'a removed node whose directory was emptied is a newcomer' => sub {
    my ($cluster, @nodes) = started(3);
    my $leader = $cluster->leader;
    my ($gone) = grep { $_ != $leader } @nodes;
    is(change($leader, leave => (id => $gone->{id}))->{status}, 200, 'it leaves');
    $gone->wait_event('removed');
    $gone->kill9;
    remove_tree($gone->{data});
    $gone->start(-id => $gone->{id});
    $leader->all_vote(3);
    ok(poll(sub { $gone->health->{status} eq 'healthy' }, 'it to have caught up'), 'and votes again');
    stop_all(@nodes);
};

subtest 'the leader leaves: it hands over first' => sub {
    my ($cluster, @nodes) = started(3, -ack => 'quorum');
    my $leader = $cluster->leader;
    my ($near) = grep { $_ != $leader } @nodes;
    $leader->set(kept => 'yes');
    is(change($near, leave => (id => $leader->{id}))->{status}, 200, 'it is answered');
    $leader->wait_event('removed');
    my @rest = grep { $_ != $leader } @nodes;
    my $next = $cluster->leader(@rest);
    is($rest[0]->value('kept', '&consistency=linearizable'), 'yes', 'nothing is lost');
    is($rest[1]->set(new => 'leader')->{status}, 200, 'the others go on');
    stop_all(@nodes);
};

subtest 'a quorum is not lowered to what happens to be there' => sub {
    my ($cluster, @nodes) = started(3, -ack => 'quorum');
    my $leader = $cluster->leader;
    my ($far, $near) = grep { $_ != $leader } @nodes;
    refused(change($leader, leave => (id => 'nobody-of-that-1')), 404, 'no_member', qr/no member/, 'an unknown id');
    $far->kill9;
    poll(sub { member($leader, $far)->{heard_ms} > 2100 }, 'the silence of one');
    refused(change($leader, leave => (id => $near->{id})), 409, 'member_refused', qr/majority/, 'one of two that are there');
    is(nodes_of($leader)->{members}[1]{voter}, 1, 'it votes on');
    is(change($leader, leave => (id => $far->{id}))->{status}, 200, 'the one that is away may leave');
    $near->wait_event('member_left');
    like(join("\n", $near->events('member_left')), qr/\Q$far->{id}\E is no longer a member of group 0, which has 2 voters/,
        'which every log says');
    is(change($near, leave => (id => $leader->{id}))->{status}, 200, 'and then the leader');
    my $last = $cluster->leader($near);
    refused(change($last, leave => (id => $last->{id})), 409, 'member_refused', qr/only voter/, 'but not the last voter');
    is($last->set(still => 'here')->{status}, 200, 'which goes on');
    $far->start;
    $far->wait_event('removed');
    pass('who left while away is told when it is back');
    stop_all(@nodes);
};

subtest 'joining is refused with the reason' => sub {
    my ($cluster, @nodes) = started(1);
    my ($leader) = @nodes;
    my $stranger = Cluster->new->node(leader => 1);
    my $other_group = $cluster->node(group => 7, leader => 1);
    my $twice = Cluster->new(cluster => $cluster->{name})->node(leader => 1);
    for ($stranger, $other_group, $twice) {
        $_->start->up;
        $_->wait_event('founded');
        $_->{id} = $_->id;
        $_->set(data => 'here');
    }
    refused(change($leader, join => (id => $leader->{id}, address => address($leader))), 409, 'member_refused',
        qr/member already/, 'a member');
    refused(change($leader, join => (id => $stranger->{id}, address => address($stranger))), 409, 'member_refused',
        qr/cluster of another name/, 'a node of another cluster');
    refused(change($leader, join => (id => $other_group->{id}, address => address($other_group))), 409,
        'member_refused', qr/another (?:replication )?group/, 'a node of another group');
    refused(change($leader, join => (id => $twice->{id}, address => address($twice))), 409, 'member_refused',
        qr/founded separately/, 'a node of another founding');
    my $free = Cluster::free_port('tcp');
    refused(change($leader, join => (id => 'nobody-of-that-1', address => "127.0.0.1:$free")), 503, 'unreachable',
        qr/answers/, 'nobody');
    my $newcomer = Cluster->new(cluster => $cluster->{name})->node;
    $newcomer->start->up;
    my $id = $newcomer->id;
    refused(change($leader, join => (id => 'nobody-of-that-1', address => address($newcomer))), 409, 'member_refused',
        qr/\Q$id\E/, 'a node of another id') or diag $leader->log;
    $leader->all_vote(2);
    pass('though that one, once dialled, joins as any newcomer does');
    stop_all(@nodes, $stranger, $other_group, $twice, $newcomer);
};

subtest 'a newcomer that nobody hears of is joined by its address' => sub {
    my ($cluster, $leader) = started(1, '-no-broadcast');
    my $newcomer = $cluster->node(args => [ '-no-broadcast', -peers => '127.0.0.1:' . Cluster::free_port('tcp') ]);
    $newcomer->start->up;
    my $id = $newcomer->cluster->{self_node_id};
    my $reply = change($leader, join => (id => $id, address => address($newcomer)));
    is_deeply($reply->json, { status => 'ok', id => $id, role => 'learner' }, 'it joins');
    $leader->all_vote(2);
    stop_all($leader, $newcomer);
};

subtest 'leadership is handed over by hand' => sub {
    my ($cluster, @nodes) = started(4);
    my $leader = $cluster->leader;
    my ($learner) = grep { $_->role eq 'learner' } @nodes;
    my ($next, $other) = grep { $_ != $leader && $_ != $learner } @nodes;
    refused(change($other, transfer => (id => $learner->{id})), 409, 'member_refused', qr/learner/, 'not to a learner');
    refused(change($other, transfer => (id => 'nobody-of-that-1')), 404, 'no_member', qr/no member/, 'nor to nobody');
    for my $asked ($other, $learner, $next) {
        my $from = $cluster->leader;
        my ($to) = grep { $_ != $from && $_ != $learner } @nodes;
        my $reply = change($asked, transfer => (id => $to->{id}));
        is_deeply($reply->json, { status => 'ok', id => $to->{id}, role => 'leader' }, 'it is handed over');
        is($cluster->leader, $to, 'and leads');
    }
    stop_all(@nodes);
};

subtest 'members that moved are followed by their ids, without broadcast' => sub {
    my $cluster = Cluster->new;
    my $leader = $cluster->node(leader => 1, args => ['-no-broadcast']);
    my @others = map { $cluster->node(args => [ '-no-broadcast', -peers => "127.0.0.1:$leader->{port}" ]) } 1 .. 2;
    $_->start for $leader, @others;
    $cluster->settle;
    $leader->all_vote(3);
    $_->{id} = $_->id for $leader, @others;
    my ($moved, $stays) = @others;
    $moved->stop;
    $moved->{port} = Cluster::free_port('tcp');
    $moved->{api}  = Cluster::free_port('tcp');
    $moved->{args} = ['-no-broadcast', -peers => '127.0.0.1:' . Cluster::free_port('tcp')];
    $moved->start;
    my $asked = $cluster->leader;
    poll(sub { member($asked, $moved)->{address} eq address($moved) }, 'the new address');
    is(member($asked, $moved)->{api}, "127.0.0.1:$moved->{api}", 'that of its API too');
    $asked->all_vote(3);
    $_->stop for $leader, $stays;
    for ($leader, $stays) {
        $_->{args} = ['-no-broadcast', -peers => '127.0.0.1:' . Cluster::free_port('tcp')];
        $_->{leader} = 0;
    }
    $leader->{port} = Cluster::free_port('tcp');
    $_->start for $leader, $stays;
    $cluster->settle;
    $asked = $cluster->leader;
    poll(sub { member($asked, $leader)->{address} eq address($leader) }, 'the founder followed too');
    $asked->all_vote(3);
    stop_all($leader, @others);
};

subtest 'a voter silent for 30 s is replaced by the learner, and is told when it is back' => sub {
    my ($cluster, @nodes) = started(4, -ack => 'quorum');
    my $leader = $cluster->leader;
    my ($learner) = grep { $_->role eq 'learner' } @nodes;
    my ($silent) = grep { $_ != $leader && $_ != $learner } @nodes;
    my $from = time;
    $silent->kill9;
    poll(sub { member($leader, $silent)->{heard_ms} > 5000 }, 'five seconds of silence');
    ok(member($leader, $silent)->{voter}, 'it is not replaced for a short silence');
    poll(sub { !defined member($leader, $silent) }, 'the replacement', 60);
    my $took = time - $from;
    cmp_ok($took, '>=', 29, sprintf 'replaced after %.1f s', $took);
    cmp_ok($took, '<', 40, 'and soon then');
    ok(member($leader, $learner)->{voter}, 'the learner votes');
    is($leader->set(three => 'vote', query => '?ack=all')->header('KV-Acks'), '3/3', 'three voters');
    like(join("\n", $leader->events('member')), qr/in the place of one silent for 30 s/, 'the log says so');
    $silent->start;
    $silent->wait_event('removed');
    refused($silent->get('three'), 503, 'removed', qr/removed/, 'the silent one serves nothing');
    is($leader->role, 'leader', 'and disturbs nobody');
    stop_all(@nodes);
};

subtest 'silence without a replacement changes nothing' => sub {
    my ($cluster, @nodes) = started(3);
    my $leader = $cluster->leader;
    my ($silent) = grep { $_ != $leader } @nodes;
    $silent->kill9;
    poll(sub { member($leader, $silent)->{state} eq 'silent' }, '30 s of silence', 60);
    ok(member($leader, $silent)->{voter}, 'it is a voter still');
    is($leader->set(k => 'v', query => '?ack=quorum')->header('KV-Acks'), '2/3', 'two of three');
    $silent->start;
    $leader->all_vote(3);
    stop_all(@nodes);
};

finish();
