# kvctl: every command, its output and its exit status.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Cluster;

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
    like($head, qr/^NODE +ADDRESS +GROUP +ROLE$/, 'a head');
    is(scalar @rows, 2, 'a row for each node');
    my ($leads, $follows) = map { my $id = $_->id; (grep { /^\Q$id\E / } @rows)[0] } $leader, $follower;
    like($leads, qr/ 127\.0\.0\.1:$leader->{port} +0  leader$/, 'the leader');
    like($follows, qr/ 127\.0\.0\.1:$follower->{port} +0  - \(asked\)$/, 'the one that was asked');
    ($status, $out) = kvctl("--server=127.0.0.1:$follower->{api}", '--json', 'cluster', 'nodes');
    is(Cluster::json_of($out)->{node_count}, 2, 'as JSON');
    ($status, $out) = kvctl("--server=127.0.0.1:$leader->{api}", 'health');
    is("$status $out", "0 status: healthy\nrole: leader\ngroup: 0\nkeys: 0\n", 'health');
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
