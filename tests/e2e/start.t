# How the program starts, and how it refuses to: one line with the cause and the mend, before anything is written.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use IO::Socket::INET;
use Test::More;
use Cluster;

my $kvnode = Cluster::binary('kvnode');
my $cluster = Cluster->new;
my $folder = $cluster->{directory};

# Root may read everything, unless it gives that up.
my @without_override = $> == 0 ? ('setpriv', '--bounding-set=-dac_override,-dac_read_search') : ();

# Runs kvnode to its end, and checks the exit status and its one line.
sub refuses {
    my ($status, $line, $name, @args) = @_;
    my ($got, $out, $error) = run([@without_override, $kvnode, @args], directory => $folder, seconds => 20);
    subtest $name => sub {
        is($got, $status, "exit status $status");
        is($out, '', 'nothing on standard output');
        is(($error =~ tr/\n//), 1, 'one line') or diag $error;
        like($error, $line, 'which says why');
    };
    return $error;
}

sub ports { map { Cluster::free_port('tcp') } 1 .. 2 }

sub flags {
    my ($node, @args) = @_;
    my ($port, $api) = ports();
    return (-port => $port, -api => $api, -data => $node->{data}, -cluster => $cluster->{name},
        '-discovery-port' => $cluster->{discovery}, @args);
}

subtest 'a bad flag exits with 2 and one line' => sub {
    my @bad = (
        [qr/-nonsense.*-help/, '-nonsense'], [qr/-nonsense/, '-nonsense=1'], [qr/'extra'/, 'extra'], [qr/flag/, '-'],
        [qr/-port requires a value/, '-port'], [qr/-port .*1 to 65535.*'0'/, -port => 0], [qr/-port .*'65536'/, '-port=65536'],
        [qr/-port .*' 80'/, -port => ' 80'], [qr/-api .*'x'/, -api => 'x'], [qr/-api .*'\+9'/, -api => '+9'],
        [qr/-discovery-port/, '-discovery-port' => '-1'], [qr/-group .*'one'/, -group => 'one'], [qr/-group/, -group => -1],
        [qr/-group/, -group => '4294967296'], [qr/-ack .*async, quorum, all.*'some'/, -ack => 'some'],
        [qr/-voters .*1 to 9/, -voters => 0], [qr/-fsync .*'often'/, -fsync => 'often'], [qr/-fsync/, -fsync => '0ms'],
        [qr/-fsync/, -fsync => '5'], [qr/-fsync/, -fsync => '61s'], [qr/-id requires 16/, -id => 'short'],
        [qr/-id requires 16/, -id => 'has a space 1234'], [qr/-bind requires an IP/, -bind => 'localhost'],
        [qr/-bind 0\.0\.0\.0 requires -advertise/, -bind => '0.0.0.0'], [qr/-advertise/, -advertise => '0.0.0.0'],
        [qr/-cluster/, -cluster => ''], [qr/-cluster/, -cluster => 'x' x 65], [qr/-cluster/, -cluster => "a\tb"],
        [qr/-peers .*'nowhere'/, -peers => 'nowhere'], [qr/-peers/, -peers => 'a:1,,b:2'], [qr/-peers/, -peers => 'a:0'],
        [qr/-no-broadcast without -peers/, '-no-broadcast'], [qr/-log-level/, '-log-level' => 'loud'],
        [qr/-log-format/, '-log-format' => 'xml'], [qr/-leader takes no value/, '-leader=yes'],
        [qr/-port is given twice/, -port => 1, -port => 2], [qr/-port and -api are both/, -port => 7, -api => 7],
        [qr/-memory/, '-memory', -data => 'x'], [qr/-data is empty/, -data => ''],
    );
    refuses(2, $_->[0], join(' ', @$_[ 1 .. $#$_ ]), @$_[ 1 .. $#$_ ]) for @bad;
    ok(!-e "$folder/kvdata", 'nothing was written');
};

subtest '-version and -help go to standard output' => sub {
    for my $dashes ('-', '--') {
        my ($status, $out, $error) = run([$kvnode, "${dashes}version"]);
        is("$status $error", '0 ', "${dashes}version");
        like($out, qr/^kvnode \d+\.\d+\.\d+\n$/, 'one line');
        ($status, $out, $error) = run([$kvnode, "${dashes}help"]);
        is("$status $error", '0 ', "${dashes}help");
        like($out, qr/^Usage: kvnode/, 'how to use it');
        like($out, qr/^  -$_\b/m, "it names -$_")
            for qw(port api group leader bind advertise allow-host data memory id cluster discovery-port peers
            no-broadcast ack voters fsync log-level log-format version);
    }
};

subtest 'a busy port exits with 1 before anything is written' => sub {
    my $busy = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Proto => 'tcp', Listen => 1);
    my ($free) = ports();
    my $port = $busy->sockport;
    refuses(1, qr/127\.0\.0\.1:$port: .*in use.*-port/, 'the cluster port', -port => $port, -api => $free, -data => 'busy');
    refuses(1, qr/127\.0\.0\.1:$port: .*in use.*-api/, 'the HTTP port', -port => $free, -api => $port, -data => 'busy');
    refuses(1, qr/192\.0\.2\.1.*-bind/, 'an address of no interface', -bind => '192.0.2.1', -port => $free, -api => $port,
        -data => 'busy');
    ok(!-e "$folder/busy", 'no data directory was made');
};

my ($node) = $cluster->start(1);
my $id = $node->id;
$node->set("key-$_" => "value-$_") for 1 .. 200;

subtest 'one data directory is for one process' => sub {
    refuses(1, qr/another process uses this data directory.*-data/, 'a second process', flags($node));
    is($node->value('key-1'), 'value-1', 'the first goes on');
};

subtest 'a data directory that belongs to somebody else is refused' => sub {
    $node->kill9;
    refuses(1, qr/belongs to group 0: start with -group 0/, 'another group', flags($node, -group => 1));
    my @other = flags($node);
    $other[ (grep { $other[$_] eq '-cluster' } 0 .. $#other)[0] + 1 ] = 'other';
    refuses(1, qr/belongs to cluster '$cluster->{name}'/, 'another cluster', @other);
    refuses(1, qr/belongs to node $id: start with -id $id/, 'another id', flags($node, -id => 'A' x 16));
    $node->start;
    $cluster->settle;
    is($node->id, $id, 'started as before, it keeps its id');
    is($node->value('key-200'), 'value-200', 'and its data');
    $node->kill9;
    $node->start(-id => $id)->up;
    is($node->id, $id, '-id may name the same');
};

subtest 'a data directory that cannot be had is refused' => sub {
    Cluster::spew("$folder/file", 'not a directory');
    my @flags = grep { $_ ne $node->{data} && $_ ne '-data' } flags($node);
    refuses(1, qr/file.*-data/, 'a file', @flags, -data => "$folder/file");
    refuses(1, qr/file.*-data/, 'below a file', @flags, -data => "$folder/file/below");
    mkdir "$folder/closed", 0000;
    refuses(1, qr/closed.*-data/, 'one that may not be read', @flags, -data => "$folder/closed");
};

subtest "other people's files in a data directory stay" => sub {
    my %files = ('thesis.txt' => 'years of work', 'log-notes' => 'mine', 'spare-parts' => 'x', 'snapshot.jpg' => 'y',
        'identity.bak' => 'z', 'lock' => '');
    my $alone = Cluster->new;
    my $waiting = $alone->node;
    mkdir $waiting->{data};
    Cluster::spew("$waiting->{data}/$_", $files{$_}) for keys %files;
    for (1 .. 3) {
        $waiting->start;
        $waiting->up;
        $waiting->kill9;
    }
    is(eval { Cluster::slurp("$waiting->{data}/$_") }, $files{$_}, $_) for sort keys %files;
    $waiting->start('-leader');
    $alone->settle;
    is($waiting->set(one => 1)->{status}, 200, 'with -leader it founds its group');
    $waiting->kill9;
    is(eval { Cluster::slurp("$waiting->{data}/$_") }, $files{$_}, $_) for sort keys %files;
};

# The log: its only segment.
sub segment { "$_[0]{data}/log-0000000000000001" }

sub patch {
    my ($file, $at, $bytes) = @_;
    open my $handle, '+<:raw', $file or die "cannot open $file: $!";
    seek $handle, $at, 0;
    print {$handle} $bytes;
    close $handle;
}

sub offset_of {
    my ($file, $text) = @_;
    my $at = rindex Cluster::slurp($file), $text;
    die "'$text' is not in $file" if $at < 0;
    return $at;
}

sub end_of { my ($text) = Cluster::slurp($_[0]) =~ /^(.*[^\0])/s; return length($text) + 7 & ~7 }

# Refused; the first line that is no event says why.
sub refused_start {
    my ($one, $why, $what) = @_;
    $one->start;
    is($one->ended, 1, "$what: exit status 1");
    like((grep { !/^\{/ } $one->lines)[0], $why, 'with what is wrong');
}

subtest 'a torn end of the log is cut, with a notice' => sub {
    $cluster->settle;
    $node->set(last => 'one');
    $node->kill9;
    my $file = segment($node);
    patch($file, end_of($file), 'garbage ' x 20);
    $node->start;
    like($node->wait_event('tail_cut'), qr/log-0000000000000001: cut \d+ bytes .*torn tail at offset \d+/, 'garbage behind it');
    $cluster->settle;
    is($node->value('last'), 'one', 'nothing before it is lost');
    is($node->health->{keys}, 201, 'not one key');
    my $end_before = Cluster::slurp("$node->{data}/log_end");
    $node->set(torn => 'in the middle');
    $node->kill9;
    my $cut = offset_of($file, 'in the middle') + 3;
    my $whole = Cluster::slurp($file);
    truncate $file, $cut or die $!;
    refused_start($node, qr/log-0000000000000001 has lost its end/, 'a file that is shorter than it was allocated');
    Cluster::spew($file, $whole);
    patch($file, $cut, "\0" x 4096);
    refused_start($node, qr/log-0000000000000001 is damaged at offset \d+, in what had been durable/, 'the last batch');
    Cluster::spew("$node->{data}/log_end", $end_before);
    $node->start;
    like($node->wait_event('tail_cut'), qr/torn tail/, 'a batch whose sync a power cut came before');
    $cluster->settle;
    is($node->value('last'), 'one', 'what stood before it is there');
    is($node->set(torn => 'again')->{status}, 200, 'and it goes on');
    is($node->stop, 0, 'it stops');
    $node->start;
    $cluster->settle;
    is_deeply([$node->events('tail_cut')], [], 'a clean stop leaves nothing to cut');
    is($node->value('torn'), 'again', 'what was written after the cut is there');
};

subtest 'damage in the middle of the log is refused, with file and offset' => sub {
    my $other = Cluster->new;
    my ($one) = $other->start(1);
    $one->set("key-$_" => "value-$_") for 1 .. 50;
    $one->kill9;
    my $file = segment($one);
    my $at = offset_of($file, 'value-25');
    my $whole = Cluster::slurp($file);
    patch($file, $at + 2, chr(ord(substr $whole, $at + 2, 1) ^ 4));
    $one->start;
    is($one->ended, 1, 'exit status 1');
    my ($line) = grep { !/^\{/ } $one->lines;
    like($line, qr/log-0000000000000001 is damaged at offset (\d+)/, 'it names the file and the offset');
    my ($said) = $line =~ /offset (\d+)/;
    cmp_ok(abs($said - $at), '<', 128, 'of the damaged record');
    like($line, qr/empty the data directory/, 'and says what to do');
    patch($file, $at + 2, substr $whole, $at + 2, 1);
    is(Cluster::slurp($file), $whole, 'the refusal has changed nothing');
    $one->start;
    $other->settle;
    is($one->health->{keys}, 50, 'once mended, it starts');
    $one->kill9;
    for my $name ('identity', 'hard_state') {
        my $kept = Cluster::slurp("$one->{data}/$name");
        patch("$one->{data}/$name", $_, '?!') for 20, 4096 + 20;    # both copies
        $one->start;
        is($one->ended, 1, "a damaged $name: exit status 1");
        like((grep { !/^\{/ } $one->lines)[0], qr/$name is damaged/, 'with its name');
        Cluster::spew("$one->{data}/$name", $kept);
    }
    $one->start;
    $other->settle;
    is($one->value('key-25'), 'value-25', 'all is there');
    $one->kill9;
};

subtest 'of two live processes with one id the later one ends' => sub {
    my $twins = Cluster->new;
    my @nodes = $twins->start(2);
    my $first = $nodes[1];
    my $clone = $twins->node(name => 'clone');
    mkdir $clone->{data};
    Cluster::spew("$clone->{data}/identity", Cluster::slurp("$first->{data}/identity"));
    $clone->start;
    is($clone->ended, 1, 'a copied directory: the later one exits with 1');
    like(($clone->events('duplicate_id'))[0], qr/uses this node's id.*data directory of its own/, 'and says why');
    my $double = $twins->node(name => 'double', args => [-id => $first->id]);
    $double->start;
    is($double->ended, 1, 'the same -id: the later one exits with 1');
    is($first->running && $first->role, 'follower', 'the first goes on');
    is($nodes[0]->set(k => 'v', query => '?ack=all')->header('KV-Acks'), '2/2', 'as a voter');
    $_->kill9 for @nodes;
};

subtest 'an -ack that differs from that of the group is a warning' => sub {
    $node->kill9;
    $node->start(-ack => 'quorum');
    like($node->wait_event('ack_differs'), qr/-ack quorum has no effect: the group was founded with -ack async/, 'it says so');
    $cluster->settle;
    is($node->set(k => 'v', query => '?ack=async')->{status}, 200, 'the founder\'s setting holds');
};

subtest 'the log is text or JSON, of the level that is wanted' => sub {
    $node->kill9;
    my $text = $cluster->node(name => 'text', data => $node->{data}, args => ['-log-format' => 'text', '-log-level=debug']);
    $text->start->up;
    poll(sub { $text->role eq 'leader' }, 'it to lead');
    like(($text->lines)[0], qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info    node $id of group 0/, 'text');
    is($text->stop, 0, 'it stops');
    my $quiet = $cluster->node(name => 'quiet', data => $node->{data}, args => ['-log-level' => 'error']);
    $quiet->start->up;
    is($quiet->stop, 0, 'it stops');
    is($quiet->log, '', 'at -log-level error it says nothing');
};

finish();
