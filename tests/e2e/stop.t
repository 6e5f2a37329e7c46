# SIGTERM and SIGINT, under load: a clean end within 5 s, a handover, no answered write lost.
use strict;
use warnings;
use File::Path qw(remove_tree);
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Time::HiRes qw(time);
use Cluster;

sub keys_of {
    my ($node, $query) = @_;
    my $reply = $node->request(GET => '/keys' . ($query // ''));
    return $reply && $reply->{status} == 200 ? $reply->json->{keys} : [];
}

for my $mode ('async', 'quorum') {
    subtest "$mode: a node that is told to stop under load loses nothing" => sub {
        my $cluster = Cluster->new;
        my @nodes = $cluster->start(3, -ack => $mode);
        poll(sub { ($nodes[0]->set(voters => 'x', query => '?ack=all')->header('KV-Acks') // '') eq '3/3' }, 'three voters');
        my $load = Cluster::Load->start($cluster, \@nodes);
        for my $round ([leader => 'TERM'], [follower => 'TERM'], [leader => 'INT'], [follower => 'INT']) {
            my ($role, $signal) = @$round;
            $load->wait_for(20);
            my $leader = $cluster->leader;
            my ($node) = $role eq 'leader' ? $leader : grep { $_ != $leader } @nodes;
            my $from = time;
            is($node->stop($signal), 0, "SIG$signal of the $role: exit status 0");
            cmp_ok(time - $from, '<', 5, 'within 5 s');
            like(($node->events('stopped'))[0], qr/everything accepted is on disk/, 'its log says so');
            my @others = grep { $_ != $node } @nodes;
            my $next = $cluster->leader(@others);
            like(($next->events('leads'))[-1], qr/handed over/, 'leadership was handed over') if $role eq 'leader';
            is($next, $leader, 'the leader stays') if $role eq 'follower';
            $node->start;
            $cluster->settle;
        }
        $load->wait_for(10);
        my @records = $load->stop;
        my @answered = $load->answered;
        my $leader = $cluster->settle;
        my %there = map { $_ => 1 } @{ keys_of($leader, '?consistency=linearizable') };
        is(join(' ', grep { !$there{$_} } @answered), '', 'every one of ' . @answered . ' answered writes is there');
        my %status;
        $status{ $_->[1] || $_->[2] }++ for @records;
        diag "$mode: ", join ', ', map { "$_: $status{$_}" } sort keys %status;
        is($status{silent} // 0, 0, 'every request got an answer or an end of its connection');
        is(join(' ', grep { !/^(?:200|503|504|closed)$/ } sort keys %status), '', 'no other answers');
        is($_->stop, 0, "$_->{name} stops") for @nodes;
    };
}

subtest 'a clean stop leaves a snapshot, from which a restart serves' => sub {
    my $cluster = Cluster->new;
    my ($node) = $cluster->start(1);
    $node->set("key-$_" => "value-$_") for 1 .. 100;
    $node->delete('key-50');
    my $etag = $node->get('key-7')->header('ETag');
    is($node->stop, 0, 'it stops');
    cmp_ok(-s "$node->{data}/snapshot", '>', 1000, 'there is a snapshot');
    $node->start->up;
    is($node->health->{keys}, 99, 'all keys are there at once');
    is($node->value('key-100'), 'value-100', 'with their values');
    is($node->get('key-7')->header('ETag'), $etag, 'and versions');
    is($node->get('key-50')->{status}, 404, 'what was deleted is not');
    $cluster->settle;
    is($node->set(after => 'restart')->{status}, 200, 'and it takes writes');
    is($node->stop, 0, 'it stops again');
};

subtest 'a whole group stops and comes back' => sub {
    my $cluster = Cluster->new;
    my @nodes = $cluster->start(3);
    poll(sub { ($nodes[0]->set(voters => 'x', query => '?ack=all')->header('KV-Acks') // '') eq '3/3' }, 'three voters');
    $nodes[0]->set("k$_" => $_) for 1 .. 50;
    $_->signal('TERM') for @nodes;
    my $from = time;
    is($_->ended, 0, "$_->{name} stops with the others") for @nodes;
    cmp_ok(time - $from, '<', 5, 'all within 5 s');
    $_->start for @nodes;
    $cluster->settle;
    is(scalar @{ keys_of($nodes[1], '?prefix=k&consistency=linearizable') }, 50, 'all keys are back');
    is($_->stop, 0, "$_->{name} stops") for @nodes;
};

subtest 'a node whose files were removed does not say that they are on disk' => sub {
    for my $remove (sub { unlink glob "$_[0]/*" }, sub { remove_tree($_[0]) }, sub { unlink glob "$_[0]/log-*" }) {
        my $node = Cluster->new->node(leader => 1)->start->up;
        poll(sub { $node->set(k => 'v')->{status} == 200 }, 'a write');
        $remove->($node->{data});
        is($node->stop, 1, 'exit status 1');
        is(scalar(() = $node->events('stopped')), 0, 'it does not say that everything is on disk');
        my $said = join ' ', $node->events('files_missing'), $node->events('disk_failed');
        like($said, qr/removed or renamed while the node ran|cannot sync|No such file/, 'but why not') or diag join "\n", $node->lines;
    }
};

subtest 'requests under way are answered, idle connections are closed' => sub {
    my $cluster = Cluster->new;
    my @nodes = $cluster->start(2, -ack => 'all');
    poll(sub { ($nodes[0]->set(voters => 'x')->header('KV-Acks') // '') eq '2/2' }, 'two voters');
    my $leader = $cluster->leader;
    my ($other) = grep { $_ != $leader } @nodes;
    my ($idle, $busy) = map { $leader->connect } 1 .. 2;
    $idle->send_request(GET => '/health');
    is($idle->response->{status}, 200, 'a client is connected');
    $other->signal('STOP');
    $busy->send_request(POST => '/set', body => '{"key":"under","value":"way"}');
    my $from = time;
    $leader->signal('TERM');
    my $reply = eval { $busy->response(seconds => 10) };
    ok($reply ? $reply->{status} =~ /^50[34]$/ : $busy->{ended}, 'a write that cannot be acknowledged is not called ok: '
            . ($reply ? $reply->{status} : 'closed'));
    is($leader->ended, 0, 'exit status 0');
    cmp_ok(time - $from, '<', 5, 'within 5 s');
    is($idle->rest(5), '', 'the idle connection was closed');
    $other->signal('CONT');
    is($other->stop, 0, 'the other stops');
};

finish();
