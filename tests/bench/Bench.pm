# What the benchmarks share: servers started on ports the kernel gave, in temporary directories of their own, and ended
# by their process ids; their processor time; quantiles; and plain HTTP requests.
package Bench;
use strict;
use warnings;
use Exporter 'import';
use File::Temp ();
use HTTP::Tiny;
use IO::Socket::INET;
use POSIX qw(:sys_wait_h);
use Time::HiRes qw(time sleep);

our @EXPORT = qw(against_base binaries cpu_seconds environment exchange fill free_port http kvnode kvnode_found kvnode_group kvnode_snapshot
    kvnode_start load_command load_run median programs quantile raw_reply redis_ask redis_start request_text server_start server_stop
    temporary wait_for wait_port which);

my %running;

sub which {
    my ($name) = @_;
    return (grep { -x } map { "$_/$name" } split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/bin')[0];
}

sub kvnode { my $path = $ENV{KVNODE} // './kvnode'; return -x $path ? $path : undef }

# What is measured: kvnode, and the base that it is compared with where BASE names one. Each [name, program].
sub binaries {
    my $base = $ENV{BASE} // '';
    die "BASE: there is no program $base\n" if $base ne '' && !-x $base;
    return (['kvnode', kvnode()], $base ne '' ? ['base', $base] : ());
}

# Both binaries' figures of one name, in the words that tests/bench/run reads; a base's also as "of_base", the median of
# the ratios within each round.
sub against_base {
    my ($format, $name, $kvnode, $base) = @_;
    my @words = sprintf "$name=$format", median(@$kvnode);
    return @words unless $base && @$base;
    push @words, sprintf "base_$name=$format", median(@$base);
    push @words, sprintf "of_base_$name=%.3f", median(map { $kvnode->[$_] / $base->[$_] } 0 .. $#$kvnode);
    return @words;
}

sub temporary { return File::Temp->newdir("kvbench-XXXXXX", TMPDIR => 1) }

# A port that was free a moment ago, never the same twice in one run.
my %given;
sub free_port {
    my ($proto) = @_;
    for (1 .. 100) {
        my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Proto => $proto // 'tcp',
            ($proto // 'tcp') eq 'tcp' ? (Listen => 1) : ()) or die "no free port: $!\n";
        return $s->sockport unless $given{ $s->sockport }++;
    }
    die "no free port\n";
}

sub wait_for {
    my ($what, $seconds, $done) = @_;
    for (my $end = time + $seconds; time < $end; sleep 0.02) {
        my $result = $done->();
        return $result if $result;
    }
    die "$what: not within $seconds s\n";
}

sub wait_port {
    my ($port) = @_;
    wait_for("port $port", 20, sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) });
}

# server_start(name, log file, command...): its standard error goes to the log file.
sub server_start {
    my ($name, $log, @command) = @_;
    my $pid = fork // die "fork: $!\n";
    if ($pid == 0) {
        open STDOUT, '>>', $log or POSIX::_exit(127);
        open STDERR, '>&', \*STDOUT or POSIX::_exit(127);
        exec @command or POSIX::_exit(127);
    }
    return $running{$pid} = { name => $name, pid => $pid, log => $log };
}

# Those of its group (with => [...]) are stopped before it. What has not ended after so many seconds is killed.
sub server_stop {
    my ($server, $signal, $seconds) = @_;
    server_stop($_, $signal, $seconds) for @{ $server->{with} // [] };
    my $pid = $server->{pid};
    return unless delete $running{$pid};
    kill 'CONT', $pid;
    kill $signal // 'TERM', $pid;
    for (my $end = time + ($seconds // 5); waitpid($pid, WNOHANG) == 0; sleep 0.01) {
        next if time < $end;
        kill 'KILL', $pid;
        waitpid $pid, 0;
        last;
    }
}

END {
    my ($status, @left) = ($?, values %running);
    $SIG{$_} = 'IGNORE' for qw(INT TERM HUP PIPE);
    server_stop($_) for @left;
    $? = $status;
}
$SIG{$_} = sub { exit 130 } for qw(INT TERM HUP PIPE);

# User and system seconds of the server's processes, all their threads included, of its children (nginx has a worker), and
# of the others of its group.
sub cpu_seconds {
    my ($server) = @_;
    my (%parent, %ticks);
    for my $path (glob '/proc/[0-9]*/stat') {
        open my $f, '<', $path or next;
        my $line = <$f> // next;
        my ($pid, $rest) = $line =~ /^(\d+) \(.*\) (.*)$/s or next;
        my @field = split ' ', $rest;
        ($parent{$pid}, $ticks{$pid}) = ($field[1], $field[11] + $field[12]);
    }
    my $sum = 0;
    for my $one ($server, @{ $server->{with} // [] }) {
        $sum += $ticks{ $one->{pid} } // die "$one->{name} has ended; its last words:\n" . `tail -n 5 '$one->{log}'`;
        $sum += $ticks{$_} for grep { $parent{$_} == $one->{pid} } keys %parent;
    }
    return $sum / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

sub quantile {
    my ($q, @values) = @_;
    my @sorted = sort { $a <=> $b } @values or return;
    my $at = int($q * @sorted);
    return $sorted[$at < @sorted ? $at : -1];
}

sub median {
    my @sorted = sort { $a <=> $b } @_ or return;
    return ($sorted[$#sorted / 2] + $sorted[@sorted / 2]) / 2;
}

sub http {
    my ($method, $url, $body, $timeout) = @_;
    return HTTP::Tiny->new(timeout => $timeout // 6)->request($method, $url,
        defined $body ? { headers => { 'Content-Type' => 'application/json' }, content => $body } : {});
}

sub request_text {
    my ($port, $path, $body) = @_;
    return "GET $path HTTP/1.1\r\nHost: 127.0.0.1:$port\r\n\r\n" unless defined $body;
    return "POST $path HTTP/1.1\r\nHost: 127.0.0.1:$port\r\nContent-Type: application/json\r\nContent-Length: "
        . length($body) . "\r\n\r\n$body";
}

# One reply's bytes as they came. Nothing comes for a minute, or the connection ends: undef.
sub exchange {
    my ($s, $request) = @_;
    syswrite $s, $request or return;
    my $reply = '';
    until ($reply =~ /\r\n\r\n(.*)/s && $reply =~ /^content-length: *(\d+)/mi
        && length(($reply =~ /\r\n\r\n(.*)/s)[0]) >= ($reply =~ /^content-length: *(\d+)/mi)[0]) {
        my $ready = '';
        vec($ready, fileno $s, 1) = 1;
        select($ready, undef, undef, 60) == 1 && sysread($s, $reply, 65536, length $reply) or return;
    }
    return $reply;
}

sub raw_reply {
    my ($port, $path, $body) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 5) or die "port $port: $!\n";
    return exchange($s, request_text($port, $path, $body)) // die "no whole reply from port $port\n";
}

# kvnode_start(dir, program => kvnode(), before => [words before it], flags => [...], port =>, api =>): the node, with its
# pid.
sub kvnode_start {
    my ($dir, %o) = @_;
    my %node = (%o, dir => $dir, port => $o{port} // free_port(), api => $o{api} // free_port());
    my @flags = ('-port', $node{port}, '-api', $node{api}, '-group', 0, '-data', "$dir/data", @{ $o{flags} // [] });
    my $server = server_start('kvnode', "$dir/log", @{ $o{before} // [] }, $o{program} // kvnode(), @flags);
    return { %node, %$server };
}

# A new group's founder, or the node that has its directory, once it takes writes.
sub kvnode_found {
    my ($dir, %o) = @_;
    -d $dir or mkdir $dir or die "$dir: $!\n";
    my $node = kvnode_start($dir, %o, flags => ['-leader', @{ $o{flags} // [] }]);
    my $set = sub { http('POST', "http://127.0.0.1:$node->{api}/set", '{"key":"key-000000000042","value":"x"}') };
    wait_for("kvnode's first write (log in $dir/log)", 20, sub { $set->()->{success} });
    return $node;
}

# Three voters on this host, once all of them acknowledge: the founder, which leads, with => the others.
sub kvnode_group {
    my ($dir, %o) = @_;
    mkdir $dir or die "$dir: $!\n";
    my @flags = ('-discovery-port', free_port('udp'), @{ $o{flags} // [] });
    my @nodes = map { mkdir "$dir/$_"; kvnode_start("$dir/$_", %o, flags => [@flags, $_ == 1 ? '-leader' : ()]) } 1 .. 3;
    my $url = "http://127.0.0.1:$nodes[0]{api}";
    wait_for("three voters (logs in $dir)", 30, sub {
        my $reply = http('POST', "$url/set?ack=all", '{"key":"key-000000000042","value":"x"}');
        return $reply->{success} && ($reply->{headers}{'kv-acks'} // '') eq '3/3';
    });
    http('GET', "$url/health")->{content} =~ /"role":"leader"/ or die "the founder does not lead (logs in $dir)\n";
    return { %{ $nodes[0] }, with => [@nodes[1, 2]] };
}

# Stops the node with a snapshot of all it holds. A stop takes one of a store up to 1 GiB; of a larger one a node takes them
# only as its log grows: then keys are written again until it does, and about a twentieth of them stand in the log after it.
sub kvnode_snapshot {
    my ($node, $keys) = @_;
    my $file = "$node->{dir}/data/snapshot";
    my $inode = sub { (stat $file)[1] // 0 };
    my $before = $inode->();
    server_stop($node, 'TERM', 120);
    return if $inode->() != $before;
    $node = kvnode_start($node->{dir}, program => $node->{program}, before => $node->{before}, flags => $node->{flags});
    wait_port($node->{api});
    for (1 .. 400) {
        load_run('-p', $node->{api}, '-o', 'set', '-k', $keys, '-n', 1 + int($keys / 20), qw(-c 50 -d 16));
        wait_for("an end of the snapshot (log in $node->{log})", 60, sub { !-e "$file.new" });
        next if $inode->() == $before;
        server_stop($node, 'KILL');
        return;
    }
    die "no snapshot in all those writes (log in $node->{log})\n";
}

# redis_start(dir, before => [...], flags => [...]): persistent as those say, never by a rewrite of its own accord.
sub redis_start {
    my ($dir, %o) = @_;
    my $program = which('redis-server') or return;
    my $port = free_port();
    -d $dir or mkdir $dir or die "$dir: $!\n";
    my $server = server_start('redis', "$dir/log", @{ $o{before} // [] }, $program, '--port', $port, '--bind', '127.0.0.1',
        '--dir', $dir, '--save', '', '--auto-aof-rewrite-percentage', 0, '--repl-diskless-sync-delay', 0, @{ $o{flags} // [] });
    return { %$server, api => $port };
}

# The answer as text; undef for an error, for nothing there, and while it does not listen.
sub redis_ask {
    my ($port, @words) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 60) or return;
    print $s join '', '*' . @words . "\r\n", map { '$' . length($_) . "\r\n$_\r\n" } @words;
    my $line = <$s> // return;
    return $1 if $line =~ /^[+:](.*)\r\n/;
    $line =~ /^\$(\d+)\r\n/ or return;
    my ($size, $text) = $1;
    return read($s, $text, $size) == $size ? $text : undef;
}

sub programs { return ($ENV{BUILD} || 'build') . '/tests/bench' }

# The load runs on core 1 and says its result in one line: name => number.
sub load_command { return ('taskset', '-c', 1, programs() . '/load', @_) }

sub load_run {
    my @command = load_command(@_);
    open my $f, '-|', @command or die "@command: $!\n";
    my $line = <$f> // '';
    close $f or die "failed: @command\n$line";
    return { $line =~ /(\w+)=([\d.]+)/g };
}

# Every key of `keys` once; returns the last that was written.
sub fill {
    my ($port, $keys, @flags) = @_;
    load_run('-p', $port, '-o', 'set', '-k', $keys, '-n', $keys, @flags);
    return sprintf 'key-%012d', ($keys - 1) * 2654435761 % $keys;
}

sub first_line { my ($command) = @_; my ($line) = split /\n/, `$command 2>&1` // ''; return $line // '' }

# "NAME 1.2.3"
sub version_of {
    my ($name, $program, $flag) = @_;
    return "no $name" unless $program;
    return first_line("$program $flag") =~ /(\d+(?:\.\d+)+)/ ? "$name $1" : "$name of an unknown version";
}

# What the figures depend on, as lines of text.
sub environment {
    my ($cpu) = map { /^model name\s*: (.*)/ ? $1 : () } split /\n/, `cat /proc/cpuinfo`;
    my $cores = () = `cat /proc/cpuinfo` =~ /^processor/mg;
    my ($file_system) = (split /\n/, `df -T \${TMPDIR:-/tmp}`)[1] =~ /^\S+\s+(\S+)/;
    my @lines = ("machine: $cores cores, " . ($cpu // 'unknown') . ", temporary files on $file_system",
        'kernel: ' . join(' ', (POSIX::uname())[0, 2, 4]),
        'congestion control: ' . first_line('cat /proc/sys/net/ipv4/tcp_congestion_control'));
    my $load = (split ' ', first_line('cat /proc/loadavg'))[0];
    push @lines, "load before the start: $load" . ($load > 0.5 ? ' (other work shares the cores: requests/s and latency are off)' : '');
    push @lines, 'versions: ' . join '; ', (map { version_of($_->[0], $_->[1], '-version') } binaries()),
        map { version_of($_->[0], which($_->[0]), $_->[1]) } [etcd => '--version'], [nginx => '-v'], ['redis-server' => '--version'];
    return @lines;
}

1;
