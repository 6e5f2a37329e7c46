# What a node asks of its disk: an answered write was synced before, names are synced, and a sync that fails ends the
# process before anything it should have made durable is answered.
use strict;
use warnings;
use Errno qw(EIO EINTR);
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Time::HiRes qw(time);
use Cluster;

my $slow = 0.15;    # seconds that a slowed sync takes more

# A node of a cluster of its own, with its disk.
sub alone {
    my (@args) = @_;
    my $cluster = Cluster->new;
    my $node = $cluster->node(leader => 1, args => \@args, disk => Cluster::Disk->new($cluster));
    return ($cluster, $node, $node->{disk});
}

# Larger than all that a node writes by itself, so that its write is known in the trace.
sub large { return substr("$_[0] " x 20_000, 0, 20_000) }

# The segment that took the large value, and whether a sync of it came after; both from the calls since the mark.
sub large_write {
    my ($disk) = @_;
    my ($file, $synced);
    for my $call ($disk->calls) {
        my ($what, $name, $error, $rest) = @$call;
        $file = $name if $what eq 'write' && $name =~ /^log-/ && (split / /, $rest)[0] > 20_000;
        $synced = 1 if $what eq 'sync' && $error == 0 && defined $file && $name eq $file;
    }
    return ($file, $synced);
}

# Names that were given or taken and that no sync of the directory followed; and files that got their final name by a
# rename while something that was written to them was not synced.
sub names_unsynced {
    my (@calls) = @_;
    my (%open, %dirty, @early);
    for (@calls) {
        my ($what, $name, $error, $to) = @$_;
        next if $error != 0;
        $dirty{$name} = 1 if $what eq 'write';
        delete $dirty{$name} if $what eq 'sync';
        $open{$name} = 1 if $what eq 'create' && $name !~ /\.new$/;
        $open{$to} = 1 if $what eq 'rename';
        delete $open{$name} if $what =~ /^(?:rename|remove)$/;
        %open = () if $what eq 'sync_names';
        push @early, $to if $what eq 'rename' && $name =~ /\.(?:new|in)$/ && $dirty{$name};
    }
    return join ' ', (sort grep { !/^spare-/ } keys %open), map { "$_ before its content" } @early;
}

subtest '-fsync always: a write is answered after its record was synced' => sub {
    my ($cluster, $node, $disk) = alone('-fsync', 'always');
    $node->start;
    $cluster->settle;
    $disk->order(slow => 'sync', 'log-', 1000 * $slow);
    for my $i (1 .. 5) {
        $disk->mark;
        my $from = time;
        my $reply = $node->set(key => large($i));
        my $took = time - $from;
        my ($file, $synced) = large_write($disk);
        is($reply->{status}, 200, 'a write is answered');
        ok(defined $file, 'it went into a segment');
        ok($synced, 'which was synced between the write and the answer');
        cmp_ok($took, '>=', $slow, 'the answer waited for that');
    }
    $disk->order(slow => 'sync', 'log-', 1500);
    my $writer = $node->connect;
    $writer->send_request(POST => '/set', body => '{"key":"slow","value":"x"}');
    pause(0.1);
    my $from = time;
    is($node->value('key'), large(5), 'a read meanwhile is answered');
    cmp_ok(time - $from, '<', 1, 'at once, though the disk is busy');
    is($writer->response->{status}, 200, 'and the write when the disk has done');
    $disk->withdraw;
    $node->stop;
};

subtest '-fsync never: the same write is answered without a sync, so that the test above can tell' => sub {
    my ($cluster, $node, $disk) = alone('-fsync', 'never');
    $node->start;
    $cluster->settle;
    $disk->mark;
    is($node->set(key => large(1))->{status}, 200, 'a write is answered');
    my ($file, $synced) = large_write($disk);
    ok(defined $file, 'it went into a segment');
    ok(!$synced, 'which was not synced');
    $node->stop;
};

subtest 'a voter that acknowledges has synced what it acknowledges' => sub {
    my $cluster = Cluster->new;
    my @nodes = map { $cluster->node(leader => $_ == 1, disk => Cluster::Disk->new($cluster)) } 1 .. 3;
    $_->start for @nodes;
    my $leader = $cluster->settle;
    $leader->all_vote(3);
    my @followers = grep { $_ != $leader } @nodes;
    for my $case ([all => @nodes], [all => $leader], [all => $followers[0]], [quorum => @followers], [quorum => $leader, $followers[0]]) {
        my ($ack, @slow) = @$case;
        my $what = "?ack=$ack with " . join(' and ', map { $_->{name} . ($_ == $leader ? ' (leader)' : '') } @slow) . ' slow';
        $_->{disk}->order(slow => 'sync', 'log-', 1000 * $slow) for @slow;
        $_->{disk}->mark for @nodes;
        my $from = time;
        my $reply = $leader->set(key => large($ack), query => "?ack=$ack");
        my $took = time - $from;
        my $synced = grep { (large_write($_->{disk}))[1] } @nodes;
        is($reply->{status}, 200, "$what: answered");
        my ($acks) = $reply->header('KV-Acks') =~ m{^(\d)/3$};
        cmp_ok($acks, '>=', $ack eq 'all' ? 3 : 2, "by $acks of 3");
        cmp_ok($synced, '>=', $acks, "and $synced had synced it");
        cmp_ok($took, '>=', $slow, 'the answer waited for a slow one') if $ack eq 'all' || @slow == 2;
        $_->{disk}->withdraw for @nodes;
    }
    $_->stop for @nodes;
};

subtest 'names are synced, and never before their content' => sub {
    my ($cluster, $node, $disk) = alone();
    $node->start;
    $cluster->settle;
    is($node->set(first => 'x')->{status}, 200, 'a write is answered');
    my @calls = $disk->calls;
    my ($made) = grep { $calls[$_][0] eq 'mkdir' && $calls[$_][1] eq $node->{data} } 0 .. $#calls;
    ok(defined $made, 'the directory was made');
    ok((grep { $_->[0] eq 'sync_names' && "$node->{data}/" =~ m{^\Q$_->[1]\E/[^/]+/$} } @calls[ ($made // 0) .. $#calls ]),
        'and the one above it synced');
    for my $name (qw(identity hard_state log-0000000000000001)) {
        ok((grep { $_->[0] eq 'rename' && $_->[3] eq $name } @calls), "$name got its name");
    }
    is(names_unsynced(@calls), '', 'and all of them were synced before the first answer');

    my $value = 'v' x 1_000_000;
    my $segments = sub { scalar grep { $_->[0] eq 'rename' && $_->[3] =~ /^log-/ } $disk->calls };
    for my $i (1 .. 40) {
        my $reply = $node->set("roll-$i" => $value);
        my $unsynced = names_unsynced($disk->calls);
        is("$reply->{status} $unsynced", '200 ', "write $i is answered, its segment having a durable name") or last;
        last if $segments->() == 3;
    }
    is($segments->(), 3, 'three segments were begun');

    $disk->mark;
    $node->stop;
    my @last = $disk->calls;
    ok((grep { $_->[0] eq 'rename' && $_->[3] eq 'snapshot' } @last), 'the end took a snapshot');
    is(names_unsynced(@last), '', 'which was synced before it got its name, and its name too');
};

subtest 'a sync that is interrupted is done again' => sub {
    my ($cluster, $node, $disk) = alone();
    $disk->order(interrupt => 'sync_names', '/', 3);
    $node->start;
    $cluster->settle;
    ok(!$disk->waits('interrupt'), 'that of a directory was interrupted');
    is(join(' ', map { $_->[2] } (grep { $_->[0] eq 'sync_names' } $disk->calls)[ 0 .. 3 ]), join(' ', (EINTR + 0) x 3, 0),
        'three times, and then done');
    for my $i (1 .. 3) {
        $disk->mark;
        $disk->order(interrupt => 'sync', 'log-', 3);
        is($node->set(key => large($i))->{status}, 200, 'a write is answered');
        ok(!$disk->waits('interrupt'), 'its sync was interrupted');
        my @syncs = map { $_->[2] } grep { $_->[0] eq 'sync' && $_->[1] =~ /^log-/ } $disk->calls;
        is(join(' ', @syncs[ 0 .. 3 ]), join(' ', (EINTR + 0) x 3, 0), 'three times, and then done');
    }
    ok($node->running, 'the node goes on');
    $node->stop;
};

# Sends writes on connections of their own; gives each answer's status, or "none".
sub statuses {
    my ($node, $count) = @_;
    my @sent = grep { $_ } map { $node->connect } 1 .. $count;
    $sent[$_]->send_request(POST => '/set', body => qq({"key":"doomed$_","value":"x"})) for 0 .. $#sent;
    return map { my $reply = $_->response(seconds => 10); $reply ? $reply->{status} : 'none' } @sent;
}

# The node ends by itself, with its one line of cause, and is well again with a disk that works.
sub ends_and_returns {
    my ($cluster, $node, $name) = @_;
    is($node->ended, 1, 'the node ends, with status 1');
    is(scalar(grep { /the disk failed|cannot make .* durable|input.output error/i } $node->lines), 1,
        'and one line of its log says why') or diag join "\n", $node->lines;
    is(scalar(grep { $_->[0] =~ /^sync/ && $_->[1] eq $name } after_failure($node->{disk})), 0, 'the sync was not tried again');
    $node->{disk}->withdraw;
    $node->start->up;
}

# The calls that came after the first one that failed with EIO.
sub after_failure {
    my ($disk) = @_;
    my @calls = $disk->calls;
    my ($at) = grep { $calls[$_][2] == EIO } 0 .. $#calls;
    return defined $at ? @calls[ $at + 1 .. $#calls ] : ();
}

subtest 'a log that cannot be synced: nothing is answered, and the node ends' => sub {
    my ($cluster, $node, $disk) = alone();
    $node->start;
    $cluster->settle;
    is($node->set(before => 'x')->{status}, 200, 'a write before it is answered');
    $disk->mark;
    $disk->order(slow => 'sync', 'log-', 300);
    $disk->order(fail => 'sync', 'log-', EIO);
    my @statuses = statuses($node, 8);
    is(scalar(grep { $_ eq '200' } @statuses), 0, "none of 8 writes is acknowledged: @statuses");
    ok(!$disk->waits('fail'), 'the sync was made to fail');
    ends_and_returns($cluster, $node, 'log-0000000000000001');
    $cluster->settle;
    is($node->value('before'), 'x', 'started again, it has what it had answered');
    $node->stop;
};

subtest 'a new segment whose name cannot be synced: the write in it is not answered' => sub {
    my ($cluster, $node, $disk) = alone();
    $node->start;
    $cluster->settle;
    is($node->set(before => 'x')->{status}, 200, 'a write before it is answered');
    # Names are synced with the batch that begins a segment: the first failure after its rename is that of its sync.
    my ($value, $failed, $answered) = ('v' x 1_000_000, 0, 0);
    for my $i (1 .. 40) {
        $disk->mark;
        $disk->order(fail => 'sync_names', '/', EIO);
        my $reply = $node->set("roll-$i" => $value);
        $answered = $i if $reply && $reply->{status} == 200;
        $failed = !$disk->waits('fail') and last;
    }
    ok($failed, 'the directory\'s sync was made to fail');
    is(scalar(grep { $_->[0] eq 'sync_names' && $_->[2] == 0 } $disk->calls), 0, 'it did not succeed later');
    is($node->ended, 1, 'the node ends, with status 1');
    $disk->withdraw;
    $node->start->up;
    $cluster->settle;
    is($node->value("roll-$answered"), $value, 'what was answered is there') if $answered;
    $node->stop;
};

subtest 'a vote that cannot be synced is not given' => sub {
    my $cluster = Cluster->new;
    my @nodes = map { $cluster->node(leader => $_ == 1, disk => Cluster::Disk->new($cluster)) } 1 .. 3;
    $_->start for @nodes;
    my $leader = $cluster->settle;
    $leader->all_vote(3);
    my @others = grep { $_ != $leader } @nodes;
    my ($broken, $sound) = @others;
    $broken->{disk}->mark;
    $broken->{disk}->order(fail => 'sync', 'hard_state', EIO);
    $leader->kill9;
    poll(sub { !$broken->running }, 'the one with the broken disk to end');
    isnt($sound->role, 'leader', 'the other one got no vote');
    ends_and_returns($cluster, $broken, 'hard_state');
    $leader->start;
    my $new = $cluster->settle;
    is($new->value('voters'), 'x', 'with disks that work they elect again');
    $_->stop for @nodes;
};

subtest 'a snapshot that cannot be synced takes nothing\'s place' => sub {
    for my $case ([sync => 'snapshot.new'], [sync_names => '/']) {
        my ($cluster, $node, $disk) = alone();
        $node->start;
        $cluster->settle;
        is($node->set(before => 'x')->{status}, 200, 'a write is answered');
        # At the end a snapshot is taken: for a directory, the sync after its rename.
        $disk->mark;
        $disk->order(fail => @$case, EIO);
        $node->signal('TERM');
        my $status = $node->ended;
        ok(!$disk->waits('fail'), "$case->[0]: it was made to fail");
        if ($case->[0] eq 'sync') {
            is(scalar(grep { $_->[0] eq 'rename' && $_->[3] eq 'snapshot' } $disk->calls), 0, 'the file got no name');
        }
        is(scalar(grep { $_->[0] eq 'remove' && $_->[1] =~ /^log-/ } $disk->calls), 0, 'no segment was removed');
        is($status, 1, 'the end says that it failed, by its status');
        $disk->withdraw;
        $node->start->up;
        $cluster->settle;
        is($node->value('before'), 'x', 'started again, all is there');
        $node->stop;
    }
};

finish();
