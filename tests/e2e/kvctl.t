# kvctl against real nodes: what it prints, and how it ends.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Cluster;

my $cluster = Cluster->new;
my ($node)  = $cluster->start(1, '-memory');
my $server  = "127.0.0.1:$node->{api}";

# Exit status, standard output and standard error of kvctl.
sub kvctl { run([ Cluster::binary('kvctl'), @_ ]) }

sub is_run {
    my ($arguments, $status, $out, $name) = @_;
    my ($got_status, $got_out, $error) = kvctl('--server', $server, @$arguments);
    is("$got_status $got_out", "$status $out", $name) or diag $error;
    return $error;
}

subtest 'put, get, keys and delete' => sub {
    is_run([ 'put', 'username', 'alice' ], 0, "ok\n", 'put');
    is_run([ 'get', 'username' ], 0, "alice\n", 'get prints the value and a newline');
    is_run([ 'put', 'a b&c=%41+', "x\"y\nz\\" ], 0, "ok\n", 'any text');
    is_run([ 'get', 'a b&c=%41+' ], 0, "x\"y\nz\\\n", 'comes back as it was');
    is_run([ 'put', 'negative', '-5' ], 0, "ok\n", 'a value that begins with -');
    is_run([ 'put', '--', '--json', '--help' ], 0, "ok\n", 'arguments behind --');
    is_run([ 'get', '--', '--json' ], 0, "--help\n", 'are read back');
    is_run(['keys'], 0, "--json\na b&c=%41+\nnegative\nusername\n", 'keys, one a line');
    is_run([ 'keys', 'user' ], 0, "username\n", 'keys with a prefix');
    is_run([ 'delete', 'username' ], 0, "ok\n", 'delete');
    my $error = is_run([ 'get', 'username' ], 4, '', 'a missing key is exit status 4');
    like($error, qr/^kvctl: not_found: .+\n +\S.+\.\n$/, 'with what happened and what to do');
};

subtest 'a value with NUL comes out whole' => sub {
    $node->set("nul\0key" => "a\0b");
    $node->set(nul => "a\0b\0");
    is_run([ 'get', 'nul' ], 0, "a\0b\0\n", 'get');
    is_run([ 'keys', 'nul' ], 0, "nul\nnul\0key\n", 'keys');
};

subtest 'health, cluster nodes and --json' => sub {
    is_run(['health'], 0, "status: healthy\nrole: leader\ngroup: 0\nkeys: 5\n", 'health');
    is_run([ '--json', 'health' ], 0, qq({"status":"healthy","role":"leader","group":0,"keys":5}\n), '--json');
    is_run([ 'get', 'negative', '--json' ], 0, qq({"key":"negative","value":"-5"}\n), '--json behind the command');
    my ($status, $out) = kvctl("--server=$server", 'cluster', 'nodes');
    is($status, 0, 'cluster nodes');
    my $id = $node->id;
    like($out, qr/^NODE +ADDRESS +GROUP +ROLE\n$id +127\.0\.0\.1:$node->{port} +0 +leader \(asked\)\n$/, 'is a table');
    local $ENV{KVNODE_SERVER} = $server;
    is((kvctl('get', 'negative'))[1], "-5\n", 'KVNODE_SERVER names the node');
};

subtest 'exit status' => sub {
    for my $wrong ([], ['get'], [ 'get', 'a', 'b' ], [ 'put', 'a' ], ['cluster'], ['frobnicate'], [ '--what', 'health' ],
        [ 'get', '' ], [ 'put', "\xff", 'v' ], [ 'health', '--server' ])
    {
        my ($status, $out, $error) = kvctl(@$wrong);
        is("$status $out", '2 ', "usage: @$wrong" =~ s/[^ -~]/?/gr);
        like($error, qr/^kvctl: .+\n$/, 'in one line');
    }
    my $error = is_run([ 'put', 'k' x 1025, 'v' ], 1, '', 'a refusal is 1');
    like($error, qr/bad_key/, 'and named');
    my ($status, $out, $why) = kvctl('--server', '127.0.0.1:1', 'health');
    is("$status $out", '3 ', 'no node reached is 3');
    like($why, qr/^kvctl: cannot reach 127\.0\.0\.1:1: .+\n$/, 'in one line');
    is((kvctl('--help'))[0],    0,               '--help');
    like((kvctl('--version'))[1], qr/^kvctl \d+\.\d+\.\d+\n$/, '--version');
};

finish();
