# The demo as make run-cluster and make stop-cluster run it, in a copy. Its ports are fixed: skipped where they are taken.
use strict;
use warnings;
use File::Copy 'copy';
use FindBin;
use lib $FindBin::Bin;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX 'WNOHANG';
use Test::More;
use Time::HiRes qw(time);
use Cluster;
use Cluster::Need;

my @ports = (8000 .. 8002, 9000 .. 9002);
my $cluster = Cluster->new;
my $folder = $cluster->{directory};
my $pids = "$folder/kvdata/demo.pids";

# One run at a time on a machine.
my $lock = IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => "\0kvnode-demo-test", Listen => 1);
need($lock, 'another run tests the demo');

for my $port (@ports) {
    need(IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Proto => 'tcp', ReuseAddr => 1, Listen => 1),
        "port $port is taken");
}
need(IO::Socket::INET->new(LocalAddr => '127.255.255.255', LocalPort => 7946, Proto => 'udp'), 'UDP port 7946 is taken');
my ($curl) = run(['curl', '--version']);
need($curl eq '0', 'curl is not installed');

mkdir "$folder/cmd";
copy("$FindBin::Bin/../../cmd/demo", "$folder/cmd/demo") or die "cannot copy the demo: $!";
copy(Cluster::binary('kvnode'), "$folder/kvnode") or die "cannot copy kvnode: $!";
chmod 0755, "$folder/cmd/demo", "$folder/kvnode";

sub pids { split ' ', Cluster::slurp($pids) }

sub is_kvnode {
    my ($pid) = @_;
    return Cluster::slurp("/proc/$pid/stat") =~ /^\d+ \(kvnode\) [^ZX]/;
}

# Whatever happens, what the demo started is ended.
END {
    if ($$ == Cluster::owner() && defined $pids) {
        my @all = map { split ' ', Cluster::slurp($_) } glob "$folder/{,copy/*/}kvdata/demo.pids";
        kill KILL => grep { is_kvnode($_) } @all;
    }
}

sub demo { return run(['cmd/demo', @_], directory => $folder, seconds => 60) }

sub answer {
    my ($port, $method, $target, $body) = @_;
    my $connection = Cluster::Connection->new('127.0.0.1', $port) or return;
    $connection->send_request($method, $target, defined $body ? (body => $body) : ());
    return $connection->response;
}

my ($status, $out, $error) = demo('start');
is("$status $error", '0 ', 'the demo starts');
like($out, qr/^write on 9000: \{"status":"ok","key":"username"\}\nread on 9001:  \{"key":"username","value":"alice"\}$/m,
    'and shows the first write and read');
like($out, qr/curl -X POST localhost:9000\/set/, 'and what to try');
my ($name) = $out =~ /-cluster (\S+)$/m;
is((answer(9000, GET => '/metrics')->{body} =~ /kvnode_build_info\{.*cluster="([^"]*)"/)[0], $name, 'and its cluster');
like($name, qr/^0-\d+$/, 'which is named after the folder');
my @started = pids();
is(scalar @started, 3, 'three nodes');
for my $port (9000 .. 9002) {
    my $health = answer($port, GET => '/health')->json;
    is("$health->{status} $health->{role}", 'healthy ' . ($port == 9000 ? 'leader' : 'follower'), "the node at $port");
    is(answer($port, GET => '/cluster')->json->{node_count}, 3, 'which knows all three');
}
is(join(' ', sort grep { -d } map { glob "$folder/kvdata/$_" } 8000 .. 8002),
    join(' ', map { "$folder/kvdata/$_" } 8000 .. 8002), 'their data directories do not collide');
my ($again, undef, $why) = demo('start');
isnt($again, 0, 'it does not start twice');
like($why, qr/runs already/, 'and says so');
is(join(' ', pids()), "@started", 'the first goes on');
($status, $out) = demo('examples');
is($status, 0, 'the examples run');
unlike($out, qr/"error":"(?!precondition_failed)/, 'and none of them fails') or diag $out;
answer(9002, POST => '/set', '{"key":"kept","value":"yes"}');
my $from = time;
($status, $out, $error) = demo('stop');
is("$status $out$error", '0 ', 'the demo stops');
cmp_ok(time - $from, '<', 15, 'soon');
is(join(' ', grep { is_kvnode($_) } @started), '', 'no node is left');
ok(!-e $pids, 'nor the list of them');
($status) = demo('stop');
is($status, 0, 'stopping it again does no harm');
($status, $out, $error) = demo('start');
is("$status $error", '0 ', 'it starts again');
is(answer(9001, GET => '/get?key=kept')->{body}, '{"key":"kept","value":"yes"}', 'with its data');
($status) = demo('stop');
is($status, 0, 'and stops');

# A second checkout of the same name, elsewhere.
mkdir "$folder/copy" and mkdir "$folder/copy/0" or die "cannot make a folder: $!";
run(['cp', '-r', "$folder/cmd", "$folder/kvnode", "$folder/copy/0/"]);
my (undef, $other) = run(['cmd/demo', 'start'], directory => "$folder/copy/0", seconds => 60);
like($other, qr/-cluster 0-(?!\Q@{[ $name =~ s{^0-}{}r ]}\E$)\d+$/m, 'has a cluster of its own');
run(['cmd/demo', 'stop'], directory => "$folder/copy/0", seconds => 60);

# The folder moves, with its data.
rename "$folder/copy/0", "$folder/copy/1" or die "cannot rename: $!";
my ($moved, $same) = run(['cmd/demo', 'start'], directory => "$folder/copy/1", seconds => 60);
is($moved, 0, 'a folder that has moved starts again');
is(($same =~ /-cluster (\S+)$/m)[0], ($other =~ /-cluster (\S+)$/m)[0], 'as the same cluster');
run(['cmd/demo', 'stop'], directory => "$folder/copy/1", seconds => 60);

# A machine so busy that a node becomes kvnode late.
rename "$folder/copy/1/kvnode", "$folder/copy/1/kvnode.real" or die "cannot rename: $!";
open my $late, '>', "$folder/copy/1/kvnode" or die "cannot write: $!";
print $late "#!/bin/sh\nsleep 1\nexec ./kvnode.real \"\$@\"\n";
close $late;
chmod 0755, "$folder/copy/1/kvnode";
my ($slow, undef, $told) = run(['cmd/demo', 'start'], directory => "$folder/copy/1", seconds => 60);
is("$slow $told", '0 ', 'nodes that begin late are waited for');
run(['cmd/demo', 'stop'], directory => "$folder/copy/1", seconds => 60);

# `demo run` in the foreground, ended from elsewhere.
my $seen = "$folder/run.out";
defined(my $run = fork) or die "fork: $!";
if ($run == 0) {
    chdir $folder;
    open STDOUT, '>', $seen;
    open STDERR, '>&', \*STDOUT;
    exec 'cmd/demo', 'run';
}
ok(poll(sub { Cluster::slurp($seen) =~ /logs follow.*leader/s }, 'the logs'), 'it runs in the foreground and shows the logs');
demo('stop');
ok(poll(sub { waitpid($run, WNOHANG) == $run }, 'its end'), 'and ends when its nodes were stopped elsewhere');

($status, $out, $error) = demo();
is($status, 1, 'without a word it says how to use it');
like($error, qr/usage: demo/, 'on standard error');
finish();
