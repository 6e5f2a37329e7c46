# kvctl: every command, its output and its exit status.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use IO::Socket::INET;
use Test::More;
use Cluster;
use Cluster::Need;

my $kvctl = Cluster::binary('kvctl');
my $cluster = Cluster->new;
my ($leader, $follower) = $cluster->start(2, '-memory');
my $server;

sub kvctl { return run([$kvctl, @_]) }

sub says {
    my ($status, $out, $name, @args) = @_;
    my ($got, $text, $error) = kvctl('--server', $server, @args);
    is("$got $text", "$status $out", $name);
    is($error, '', 'nothing on standard error') if $status == 0;
    return $error;
}

for my $node ($leader, $follower) {
    $server = "127.0.0.1:$node->{api}";
    subtest "commands, asked of $node->{name}" => sub {
        says(0, "ok\n", 'put', 'put', 'name', 'alice');
        poll(sub { ($node->value('name') // '') eq 'alice' }, 'the write');
        says(0, "alice\n", 'get', 'get', 'name');
        says(0, "{\"key\":\"name\",\"value\":\"alice\"}\n", 'get --json', 'get', 'name', '--json');
        says(0, "ok\n", 'put of odd text', 'put', 'odd & key=1?', "a\"b\\c\nd\xc3\xa9");
        poll(sub { $node->get('odd & key=1?')->{status} == 200 }, 'the write');
        says(0, "a\"b\\c\nd\xc3\xa9\n", 'get of it', 'get', 'odd & key=1?');
        says(0, "name\nodd & key=1?\n", 'keys', 'keys');
        says(0, "name\n", 'keys with a prefix', 'keys', 'na');
        says(0, '', 'keys with a prefix of none', 'keys', 'zzz');
        says(0, "ok\n", 'an empty value', 'put', 'name', '');
        poll(sub { ($node->value('name') // 'x') eq '' }, 'the write');
        says(0, "\n", 'is read back', 'get', 'name');
        says(0, "ok\n", 'delete', 'delete', 'name');
        says(0, "ok\n", 'delete of a key that is not there', 'delete', 'name');
        poll(sub { $node->get('name')->{status} == 404 }, 'the delete');
        my $error = says(4, '', 'get of a missing key exits with 4', 'get', 'name');
        like($error, qr/^kvctl: not_found: .+\n +\S.+\n$/, 'and says so');
        says(0, "ok\n", 'a key that looks like an option', '--', 'put', '--json', 'v');
        says(0, "ok\n", 'and its delete', 'delete', '--', '--json');
        says(0, "ok\n", 'clean up', 'delete', 'odd & key=1?');
        poll(sub { $node->health->{keys} == 0 }, 'the delete');
    };
}

subtest 'a value with NUL comes out whole, and one that begins with - goes in' => sub {
    $server = "127.0.0.1:$leader->{api}";
    $leader->set("nul\0key" => "a\0b");
    $leader->set(nul => "a\0b\0");
    says(0, "a\0b\0\n", 'get', 'get', 'nul');
    says(0, "nul\nnul\0key\n", 'keys', 'keys', 'nul');
    $leader->delete($_) for 'nul', "nul\0key";
    says(0, "ok\n", 'put of a negative number', 'put', 'negative', '-5');
    says(0, "-5\n", 'is read back', 'get', 'negative');
    $leader->delete('negative');
};

subtest 'cluster nodes and health' => sub {
    my ($status, $out) = kvctl("--server=127.0.0.1:$follower->{api}", 'cluster', 'nodes');
    is($status, 0, 'cluster nodes');
    my ($head, @rows) = split /\n/, $out;
    like($head, qr/^MEMBER +ADDRESS +ROLE +VOTER +STATE +LAG +HEARD$/, 'a head');
    is(scalar @rows, 2, 'a row for each node');
    my ($leads, $follows) = map { my $id = $_->id; (grep { /^\Q$id\E / } @rows)[0] } $leader, $follower;
    like($leads, qr/ 127\.0\.0\.1:$leader->{port} +leader +yes +connected +0  0 ms$/, 'the leader');
    like($follows, qr/ 127\.0\.0\.1:$follower->{port} +follower +(?:yes|no) +connected +\d+  \d+ ms$/, 'the one that was asked');
    ($status, $out) = kvctl("--server=127.0.0.1:$follower->{api}", '--json', 'cluster', 'nodes');
    is(scalar @{ Cluster::json_of($out)->{members} }, 2, 'as JSON');
    ($status, $out) = kvctl("--server=127.0.0.1:$leader->{api}", 'health');
    is("$status $out", "0 status: healthy\nrole: leader\ngroup: 0\nkeys: 0\n", 'health');
};

subtest 'slots of a group alone' => sub {
    $server = "127.0.0.1:$follower->{api}";
    says(0, "FIRST  LAST SLOTS      GROUP  LEADER\n    0 16383 16384          0  127.0.0.1:$leader->{port}\n",
        'cluster slots', 'cluster', 'slots');
    says(0, "slot 12182, group 0, leader 127.0.0.1:$leader->{port}\n", 'of a key', 'cluster', 'slots', 'foo');
    says(0, "slot 3443, group 0, leader 127.0.0.1:$leader->{port}\n", 'of a key with a hash tag', 'cluster', 'slots',
        '{user1000}.following');
    says(2, '', 'of no key', 'cluster', 'slots', '');
    ok(!exists $follower->cluster->{slots}, 'a group alone shows no slots in /cluster');
};

subtest 'members by hand' => sub {
    $server = "127.0.0.1:$leader->{api}";
    poll(sub { grep { / follower +yes / } split /\n/, (kvctl("--server=$server", 'cluster', 'nodes'))[1] }, 'two voters');
    my ($one, $two) = ($leader->id, $follower->id);
    says(0, "ok\n", 'transfer', 'cluster', 'transfer', $two);
    says(0, "ok\n", 'and back', 'cluster', 'transfer', $one);
    says(0, "ok\n", 'leave', 'cluster', 'leave', $two);
    my ($status, $out, $error) = kvctl("--server=$server", 'cluster', 'leave', $two);
    is($status, 1, 'once');
    like($error, qr/no_member/, 'with the reason');
    says(0, "ok\n", 'join', 'cluster', 'join', $two, "127.0.0.1:$follower->{port}");
    poll(sub { $follower->role eq 'follower' }, 'two voters again');
};

subtest 'values from standard input, byte for byte' => sub {
    $server = "127.0.0.1:$leader->{api}";
    my $file = "$cluster->{directory}/value";
    my $value = "line 1\nline 2 \0 \xc3\xa9\n";
    spew($file, $value);
    my $pipe = sub { run(['sh', '-c', qq("$kvctl" --server $server $_[0] < "$file")]) };
    is(join(' ', $pipe->('put piped -')), "0 ok\n ", 'put KEY -');
    is((kvctl('--server', $server, 'get', 'piped', '--raw'))[1], $value, 'get --raw gives it back');
    says(0, "$value\n", 'without --raw a newline follows', 'get', 'piped');
    spew($file, '');
    is(($pipe->('put piped -'))[0], 0, 'an empty one');
    says(0, '', 'is read back', 'get', '--raw', 'piped');
    spew($file, "\xff\xfe");
    my ($status, $out, $error) = $pipe->('put piped -');
    is("$status $out", '2 ', 'bytes that are not UTF-8');
    like($error, qr/UTF-8.*base64/, 'are refused with the mend');
    spew($file, 'x' x (1 << 20));
    is(($pipe->('put piped -'))[0], 0, 'the largest value');
    spew($file, 'x' x ((1 << 20) + 1));
    ($status, $out, $error) = $pipe->('put piped -');
    is("$status $out", '2 ', 'one byte more');
    like($error, qr/larger than 1048576 bytes/, 'is refused');
    says(0, "ok\n", 'clean up', 'delete', 'piped');
};

subtest 'conditions, versions and confirmed reads' => sub {
    says(0, "ok\n", 'put --if-absent of a new key', 'put', 'lock', 'me', '--if-absent');
    says(5, '', 'and of one that is there exits with 5', 'put', 'lock', 'you', '--if-absent');
    says(0, "me\n", 'which changes nothing', 'get', 'lock');
    my ($status, $version) = kvctl('--server', $server, 'version', 'lock');
    like("$status $version", qr/^0 \d+\.\d+\n$/, 'version');
    chomp $version;
    says(0, "ok\n", 'put --if-version', 'put', 'lock', 'still me', '--if-version', $version);
    says(5, '', 'the old version no longer holds', 'put', 'lock', 'you', "--if-version=$version");
    says(0, "still me\n", 'get --linearizable', 'get', 'lock', '--linearizable');
    says(5, '', 'delete --if-version', 'delete', 'lock', '--if-version', $version);
    says(0, "ok\n", 'put --ack all', 'put', 'lock', 'x', '--ack', 'all');
    says(1, '', 'put --ack nonsense', 'put', 'lock', 'x', '--ack', 'nonsense');
    says(2, '', 'a version that is none', 'put', 'lock', 'x', '--if-version', 'x"');
    says(0, "ok\n", 'clean up', 'delete', 'lock');
    says(4, '', 'the version of a missing key', 'version', 'lock');
};

subtest 'several servers are tried in turn' => sub {
    my $gone = Cluster::free_port('tcp');
    my $list = "127.0.0.1:$gone,127.0.0.1:$leader->{api}";
    my ($status, $out, $error) = kvctl('--server', $list, 'put', 'turn', 'x');
    is("$status $out", "0 ok\n", 'a write that surely was not sent goes to the next one');
    like($error, qr/^kvctl: cannot reach 127\.0\.0\.1:$gone: .*; trying the next server$/m, 'which is said');
    ($status, $out) = kvctl('--server', $list, 'get', 'turn');
    is("$status $out", "0 x\n", 'so does a read');
    is((kvctl('--server', "127.0.0.1:$gone,127.0.0.1:$gone", 'get', 'turn'))[0], 3, 'none is reached');
    is((kvctl('--server', "127.0.0.1:$gone,", 'get', 'turn'))[0], 2, 'an empty one');
    # A server that takes the request and closes without an answer.
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp', Listen => 5, ReuseAddr => 1);
    my $port = $listener->sockport;
    my $pid = fork // die 'cannot fork';
    if ($pid == 0) {
        $SIG{ALRM} = 'DEFAULT';
        alarm 30;
        for (1 .. 3) {
            my $client = $listener->accept or last;
            sysread $client, my $request, 65536;
            close $client;
        }
        require POSIX;
        POSIX::_exit(0);
    }
    close $listener;
    ($status, $out, $error) = kvctl('--server', "127.0.0.1:$port,127.0.0.1:$leader->{api}", 'put', 'turn', 'again');
    is("$status $out", '6 ', 'a write that may have been sent is not sent again');
    like($error, qr/the write may have happened/, 'and that is said');
    is($leader->value('turn'), 'x', 'it is not there');
    ($status, $out) = kvctl('--server', "127.0.0.1:$port,127.0.0.1:$leader->{api}", 'get', 'turn');
    is("$status $out", "0 x\n", 'a read is');
    ($status, $out, $error) = kvctl('--server', "127.0.0.1:$port", 'cluster', 'leave', $leader->id);
    is("$status $out", '6 ', 'nor is a change of members known');
    like($error, qr/the change may have happened: look with `kvctl cluster nodes`/, 'and that is said of it');
    waitpid $pid, 0;
    $leader->delete('turn');
};

subtest 'status, metrics, level and readiness' => sub {
    my $gone = Cluster::free_port('tcp');
    my ($status, $out) = kvctl('--server', "127.0.0.1:$leader->{api},127.0.0.1:$gone,127.0.0.1:$follower->{api}", 'cluster', 'status');
    is($status, 0, 'cluster status');
    like($out, qr/^127\.0\.0\.1:$leader->{api} +healthy +leader +0 +\d+ +0/m, 'the leader');
    like($out, qr/^127\.0\.0\.1:$gone +unreached/m, 'one that is gone');
    like($out, qr/^127\.0\.0\.1:$follower->{api} +healthy +follower/m, 'a follower');
    like($out, qr/^NODE /m, 'and the nodes');
    ($status, $out) = run(['timeout', '3', $kvctl, '--server', "127.0.0.1:$leader->{api}", 'cluster', 'status', '--watch']);
    cmp_ok(scalar(() = $out =~ /\e\[H\e\[J/g), '>=', 2, 'cluster status --watch draws it again');
    ($status, $out) = kvctl('--server', $server, 'metrics');
    like("$status $out", qr/^0 # HELP /, 'metrics');
    says(0, "info\n", 'log-level', 'log-level');
    says(0, "debug\n", 'log-level debug', 'log-level', 'debug');
    says(0, "info\n", 'log-level info', 'log-level', 'info');
    ($status) = kvctl('--server', $server, 'health', '--ready');
    is($status, 0, 'health --ready');
};

subtest 'completion offers commands and keys' => sub {
    require Cwd;
    my $file = Cwd::abs_path("$FindBin::Bin/../../cmd/kvctl.bash");
    my ($bash) = grep { -x } map { "$_/bash" } split /:/, $ENV{PATH};
    need($bash, 'bash is not installed');
    $leader->set(complete => 'x');
    my $complete = sub {
        my $words = join ' ', map { "'$_'" } @_;
        my ($folder) = $kvctl =~ m{^(.*)/};
        return (run([$bash, '-c', "PATH='$folder':\$PATH KVNODE_SERVER=$server; export KVNODE_SERVER; . '$file'; "
            . "COMP_WORDS=($words); COMP_CWORD=$#_; _kvctl; echo \"\${COMPREPLY[*]}\""]))[1];
    };
    is($complete->('kvctl', 'cl'), "cluster\n", 'a command');
    is($complete->('kvctl', 'rejected', ''), "list apply drop\n", 'its second word');
    is($complete->('kvctl', '--li'), "--linearizable\n", 'an option');
    is($complete->('kvctl', 'get', 'comp'), "complete\n", 'a key');
    $leader->delete('complete');
};

subtest 'exit codes' => sub {
    $server = "127.0.0.1:$leader->{api}";
    for my $args ([], ['nonsense'], ['put', 'k'], ['put', "\xff", 'v'], ['put', 'k', 'v', 'w'], ['get'], ['get', 'a', 'b'], ['cluster'],
        ['cluster', 'other'], ['health', 'x'], ['--nonsense'], ['get', 'k', '--server'], ['get', ''], ['get', "\xff"]) {
        my ($status, $out, $error) = kvctl(@$args);
        is("$status $out", '2 ', "usage: kvctl @$args");
        like($error, qr/^kvctl: .*--help.*\n$/, 'one line says where to look');
    }
    my $error = says(1, '', 'a refusal exits with 1', 'put', 'k' x 1025, 'v');
    like($error, qr/bad_key/, 'with the error of the node');
    my ($status, $out) = kvctl('--help');
    like("$status $out", qr/^0 usage: kvctl/, '--help');
    ($status, $out) = kvctl('--version');
    like("$status $out", qr/^0 kvctl \d/, '--version');
    my $port = Cluster::free_port('tcp');
    ($status, $out, $error) = kvctl('--server', "127.0.0.1:$port", 'health');
    is("$status $out", '3 ', 'no node there: 3');
    like($error, qr/127\.0\.0\.1:$port/, 'and says where');
    ($status, $out, $error) = kvctl('--server', 'nonsense:x', 'health');
    is("$status $out", '3 ', 'no such server: 3');
    local $ENV{KVNODE_SERVER} = "127.0.0.1:$leader->{api}";
    ($status, $out) = kvctl('keys');
    is("$status $out", '0 ', 'KVNODE_SERVER names the server');
};

subtest 'a large value and many keys' => sub {
    $server = "127.0.0.1:$leader->{api}";
    my $large = 'x' x 100_000;
    says(0, "ok\n", 'put', 'put', 'large', $large);
    says(0, "$large\n", 'get', 'get', 'large');
    $leader->delete('large');
    my $connection = $leader->connect;
    $connection->send(join '', map { $connection->request_text(POST => '/set', body => qq({"key":"k$_","value":""})) }
            1000 .. 3999);
    $connection->response for 1000 .. 3999;
    says(0, join('', map { "k$_\n" } 1000 .. 3999), 'keys', 'keys');
};

finish();
