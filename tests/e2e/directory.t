# kvctl directory: what it says of a stopped node's data directory, whole and damaged in each way, and what it mends.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Cluster;

my $first = 'log-0000000000000001';

sub directory { return run([Cluster::binary('kvctl'), 'directory', @_]) }

# Every file of a directory, and when it was changed.
sub all_of {
    my ($data) = @_;
    return join '', map { "$_ " . (stat $_)[9] . "\0" . Cluster::slurp($_) } sort glob "$data/*";
}

sub copy_to {
    my ($from, $to) = @_;
    is((run(['cp', '-a', $from, $to]))[0], 0, 'a copy of it');
    return $to;
}

sub patch {
    my ($file, $at, $bytes) = @_;
    open my $handle, '+<:raw', $file or die "cannot open $file: $!";
    seek $handle, $at, 0;
    print {$handle} $bytes;
    close $handle or die "cannot write $file: $!";
}

sub flip {
    my ($file, $at) = @_;
    patch($file, $at, chr(4 ^ ord substr Cluster::slurp($file), $at, 1));
}

sub offset_of {
    my ($file, $text) = @_;
    my $at = rindex Cluster::slurp($file), $text;
    die "'$text' is not in $file" if $at < 0;
    return $at;
}

sub crc32c {
    my ($bytes) = @_;
    my $crc = 0xffffffff;
    for my $byte (unpack 'C*', $bytes) {
        $crc ^= $byte;
        $crc = $crc & 1 ? ($crc >> 1) ^ 0x82f63b78 : $crc >> 1 for 1 .. 8;
    }
    return $crc ^ 0xffffffff;
}

# Both copies of hard_state, whole, with a term that a forged vote would have left.
sub forge_term {
    my ($data, $term) = @_;
    my $body = pack 'Q< a16 Q<', $term, 'x' x 16, 7;
    my $size = pack 'L<', length $body;
    my $copy = 'KVNHARD2' . $size . pack('L<', crc32c($size . $body)) . $body;
    patch("$data/hard_state", $_, $copy) for 0, 4096;
}

sub row {
    my ($out, $name) = @_;
    return ($out =~ /^(\Q$name\E +.*)$/m)[0] // "no row for $name";
}

# The check says that, and changes nothing.
sub checks {
    my ($data, $status, $like, $what) = @_;
    my $before = all_of($data);
    my ($got, $out, $error) = directory('check', $data);
    is($got, $status, "$what: exit status $status") or diag $out, $error;
    like($out, $like, 'it says so');
    ok(all_of($data) eq $before, 'and nothing was written');
    return $out;
}

my $alone = Cluster->new;
my ($one) = $alone->start(1);
$one->set("key-$_" => "value-$_") for 1 .. 30;
my $id = $one->id;

subtest 'what cannot be examined' => sub {
    my ($status, $out, $error) = directory('check', $one->{data});
    is($status, 2, 'a node runs on it');
    like($error, qr/another process uses this data directory: stop the node/, 'which is said');
    my $none = "$alone->{directory}/none";
    ($status, $out, $error) = directory('check', $none);
    is($status, 2, 'no such directory');
    like($error, qr/\Q$none\E: No such file/, 'which is said');
    ok(!-e $none, 'and it was not made');
    mkdir $none or die $!;
    Cluster::spew("$none/thesis", 'text');
    for my $word ('check', 'mend') {
        ($status, $out, $error) = directory($word, $none, $word eq 'mend' ? '--yes' : ());
        is($status, 2, "$word: somebody's files");
        like($error, qr/no file of a node/, 'which is said');
        is(join(' ', glob "$none/*"), "$none/thesis", 'and left alone');
    }
    is((directory('check'))[0], 2, 'no directory is named');
};

is($one->stop, 0, 'it stops');

subtest 'a whole directory' => sub {
    my $out = checks($one->{data}, 0, qr/^whole$/m, 'whole');
    like(row($out, 'identity'), qr/ whole .*node \Q$id\E.*group 0.*cluster '$alone->{name}', 0 other voters/, 'who it is');
    like(row($out, 'hard_state'), qr/ whole .*term 1, voted for \Q$id\E/, 'term and vote');
    like(row($out, $first), qr/ whole .*index 1 to 3\d, highest term 1/, 'the segment');
    like(row($out, 'log_end'), qr/ whole .*$first/, 'how far it is durable');
    like(row($out, 'rejected'), qr/ whole .*0 rejected/, 'the ledger');
    like($out, qr/^the log holds index 1 to 3\d, last term 1; committed, .* up to 3\d$/m, 'the log as a whole');
    my ($status, $said) = directory('mend', $one->{data}, '--yes');
    is("$status $said", "0 nothing to mend\n", 'nothing to mend');
    Cluster::spew("$one->{data}/thesis", 'text');
    checks($one->{data}, 0, qr/^1 other files are not kvnode's, and are left alone$/m, 'a file beside it');
};

subtest 'a file that may not be read' => sub {
    my $data = copy_to($one->{data}, "$alone->{directory}/denied");
    chmod 0, "$data/$first" or die $!;
    my @user = $> == 0 ? ('setpriv', '--bounding-set=-dac_override,-dac_read_search') : ();
    my ($status, $out, $error) = run([@user, Cluster::binary('kvctl'), 'directory', 'mend', $data, '--yes']);
    is($status, 2, 'is not damaged');
    like($error, qr/$first: .*: run this as the node's user$/, 'which is said');
    is(join(' ', glob "$data/aside-*"), '', 'and not set aside');
};

subtest 'one of two copies is damaged' => sub {
    my $data = copy_to($one->{data}, "$alone->{directory}/copies");
    my @damage = map { ([$_, 20], [$_, 4096 + 20]) } 'identity', 'hard_state', 'log_end', $first;
    for my $damage (@damage) {
        my ($name, $at) = @$damage;
        flip("$data/$name", $at);
        my $out = checks($data, 1, qr/^\Q$name\E +one copy /m, "$name at $at");
        my ($status, $said) = directory('mend', $data);
        is($status, 1, 'without --yes nothing is done');
        like($said, qr/^mend: damaged second copies.*\nnothing was done/m, 'which is said');
        ($status, $said) = directory('mend', $data, '--yes');
        is($status, 0, 'mended') or diag $said;
        checks($data, 0, qr/^whole$/m, 'then it is whole');
    }
};

subtest 'each kind of damage is found' => sub {
    my $data = copy_to($one->{data}, "$alone->{directory}/kinds");
    for my $name ('identity', 'hard_state', 'log_end') {
        my $kept = Cluster::slurp("$data/$name");
        flip("$data/$name", $_) for 20, 4096 + 20;
        checks($data, 1, qr/^\Q$name\E +damaged /m, "both copies of $name");
        unlink "$data/$name" or die $!;
        checks($data, 1, qr/^\Q$name\E +missing /m, "no $name");
        Cluster::spew("$data/$name", $kept);
    }
    my $at = offset_of("$data/$first", 'value-25');
    flip("$data/$first", $at);
    my $out = checks($data, 1, qr/^\Q$first\E +damaged +\S+ is damaged at offset \d+/m, 'a record');
    flip("$data/$first", $at);
    truncate "$data/$first", 1 << 20 or die $!;
    checks($data, 1, qr/^\Q$first\E +damaged .*has lost its end/m, 'a short segment');
    unlink "$data/$first" or die $!;
    checks($data, 1, qr/^\Q$first\E +missing .*is missing, and had been durable/m, 'no segment');
    Cluster::spew("$data/snapshot", 'KVNSNAP2 and nonsense');
    checks($data, 1, qr/^snapshot +damaged /m, 'a snapshot');
    my ($status, $said) = directory('mend', $data, '--yes');
    is($status, 1, 'which cannot be mended');
    like($said, qr/nowhere else: restore the directory from a backup/, 'with what to do');
};

subtest 'a forged term' => sub {
    my $data = copy_to($one->{data}, "$alone->{directory}/forged");
    forge_term($data, '9223372036854775807');
    checks($data, 1, qr/^hard_state +impossible +term 9223372036854775807.*no group reaches/m, 'a term of 2^63-1');
    my $node = $alone->node(data => $data)->start;
    is($node->ended, 1, 'a node does not start on it');
    like((grep { !/^\{/ } $node->lines)[0], qr/term 9223372036854775807, which no group reaches: 'kvctl directory mend'/, 'and says why');
    my ($status, $said) = directory('mend', $data, '--yes');
    is($status, 0, 'mended') or diag $said;
    like($said, qr/the term becomes 1048577, in which this node has not voted; no write is lost/, 'how');
    $node->start->up;
    poll(sub { $node->role eq 'leader' }, 'it to lead');
    is($node->value('key-30'), 'value-30', 'all is there');
    is($node->set(more => 'x')->{status}, 200, 'and it goes on');
    is($node->stop, 0, 'it stops');
};

subtest 'damage that the snapshot of a sole voter makes up for' => sub {
    my $data = copy_to($one->{data}, "$alone->{directory}/covered");
    flip("$data/$first", offset_of("$data/$first", 'value-25') + 2);
    my ($after) = checks($data, 1, qr/^snapshot +whole .*30 keys as of index 3\d/m, 'a record') =~ /--lose-writes-after (\d+)$/m;
    my ($status, $said) = directory('mend', $data, '--yes', '--lose-writes-after', $after // 0);
    is($status, 0, 'mended') or diag $said;
    my $node = $alone->node(data => $data)->start->up;
    poll(sub { $node->role eq 'leader' }, 'it to lead');
    is_deeply([map { $node->value("key-$_") } 24, 25, 30], ['value-24', 'value-25', 'value-30'], 'all is there');
    is($node->stop, 0, 'it stops');
};

subtest 'damage to the log of a sole voter' => sub {
    my $killed = Cluster->new;
    my ($before_it) = $killed->start(1);
    $before_it->set("key-$_" => "value-$_") for 1 .. 30;
    $before_it->kill9;
    my $data = $before_it->{data};
    my $file = "$data/$first";
    flip($file, offset_of($file, 'value-25') + 2);
    my $out = checks($data, 1, qr/only voter.*lost to the group: at least the writes up to index 3\d/, 'what would be lost');
    my ($after) = $out =~ /--yes --lose-writes-after (\d+)$/m or return fail('the check names no index');
    my $before = all_of($data);
    for my $words (['--yes'], ['--yes', '--lose-writes-after', $after - 1], ['--lose-writes-after', $after]) {
        is((directory('mend', $data, @$words))[0], 1, "@$words do not do");
        ok(all_of($data) eq $before, 'nothing was written');
    }
    my $damaged = Cluster::slurp($file);
    my ($status, $said) = directory('mend', $data, '--yes', '--lose-writes-after', $after);
    is($status, 0, 'with both it is cut') or diag $said;
    my ($aside) = glob "$data/aside-*-$first";
    ok(Cluster::slurp($aside) eq $damaged, 'what was there is kept beside');
    checks($data, 0, qr/^the log holds index 1 to $after,/m, 'the rest is whole');
    my $node = $before_it->start->up;
    poll(sub { $node->role eq 'leader' }, 'it to lead');
    is($node->value('key-24'), 'value-24', 'what stood before the damage is there');
    is($node->value('key-25'), undef, 'the rest is not');
    is($node->set('key-25' => 'again')->{status}, 200, 'it takes writes');
    is($node->kill9, 'signal 9', 'killed');
    $node->start->up;
    poll(sub { $node->role eq 'leader' }, 'it to lead again');
    is($node->value('key-25'), 'again', 'and they are there');
    is($node->stop, 0, 'it stops');
};

subtest 'a sole voter without log_end, or without term and vote' => sub {
    my $data = copy_to($one->{data}, "$alone->{directory}/ends");
    unlink "$data/log_end", "$data/hard_state" or die $!;
    my $out = checks($data, 1, qr/the term becomes 1048577/, 'both are gone');
    my ($last) = $out =~ /--lose-writes-after (\d+)$/m;
    my ($status, $said) = directory('mend', $data, '--yes', '--lose-writes-after', $last // 0);
    is($status, 0, 'mended') or diag $said;
    my $node = $alone->node(data => $data)->start->up;
    poll(sub { $node->role eq 'leader' }, 'it to lead');
    is($node->value('key-30'), 'value-30', 'all that could be read is there');
    is($node->stop, 0, 'it stops');
};

subtest 'one of three is mended, and joins its group anew' => sub {
    my $cluster = Cluster->new(args => [-ack => 'quorum']);
    my @nodes = $cluster->start(3);
    $nodes[0]->all_vote(3);
    $nodes[0]->set("key-$_" => "value-$_") for 1 .. 20;
    my $node = $nodes[2];
    is($node->stop, 0, 'it stops');
    my $data = $node->{data};
    like(row((directory('check', $data))[1], 'identity'), qr/, 2 other voters$/, 'it knows of the others');
    my ($was) = (directory('check', $data))[1] =~ /incarnation (\w+)/;
    flip("$data/$first", offset_of("$data/$first", 'value-5') + 2);
    my $damaged = Cluster::slurp("$data/$first");
    checks($data, 1, qr/^mend: all files but 'identity' and 'rejected' are renamed aside-.*from the 2 other voters\.$/m, 'what mend would do');
    my ($status, $said) = directory('mend', $data, '--yes');
    is($status, 0, 'mended') or diag $said;
    like($said, qr/^mended: start the node$/m, 'with what comes next');
    my ($aside) = glob "$data/aside-*-$first";
    ok(Cluster::slurp($aside) eq $damaged, 'what was there is kept beside');
    my ($now) = checks($data, 0, qr/its files were set aside/, 'then') =~ /incarnation (\w+)/;
    isnt($now, $was, 'a new incarnation');
    $node->start;
    $cluster->settle;
    $nodes[0]->all_vote(3);
    is($node->value('key-20'), 'value-20', 'it has its data again');
    poll(sub { !glob "$data/aside-*" }, 'a full member to remove what was set aside');
};

subtest 'a forged term on every node of a group is mended without losing anything' => sub {
    my $cluster = Cluster->new(args => [-ack => 'quorum']);
    my @nodes = $cluster->start(3);
    $nodes[0]->all_vote(3);
    $nodes[0]->set(kept => 'value', query => '?ack=all');
    $_->kill9 for @nodes;
    for my $node (@nodes) {
        forge_term($node->{data}, '9223372036854775807');
        is((directory('mend', $node->{data}, '--yes'))[0], 0, "$node->{name} is mended");
    }
    $_->start for @nodes;
    $cluster->settle;
    is($nodes[0]->value('kept', '&consistency=linearizable'), 'value', 'all is there');
    is($nodes[1]->set(more => 'x')->{status}, 200, 'and it goes on');
};

finish();
