# Real kvnode processes on loopback, and clients of them, for the tests beside this file.
#
# Ports come from the kernel and stay reserved by a bound socket that never listens, so that several runs may go on
# at once and a node finds its port free again after a restart. Nothing sleeps to wait: `poll` looks until a deadline.
# Whatever happens, everything that was started is ended by its pid and the temporary directory is removed; when a
# test has failed, the nodes' logs are printed.
package Cluster;

use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Path qw(remove_tree);
use File::Temp ();
use IO::Socket::INET;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use Cluster::Connection;
use Cluster::Disk;
use Cluster::Load;
use Cluster::Node;

our @EXPORT = qw(poll pause insist gist slurp spew run json_of text_of median finish);

our $patience = 30;    # seconds; generous, machines are slow
$ENV{BUILD} ||= "build";
my $build     = abs_path($ENV{BUILD});
my $owner     = $$;
my $directory = File::Temp::tempdir('kvnode-XXXXXXXX', TMPDIR => 1);
my (@clusters, @reserved, $finished);

BAIL_OUT("there is no $build/kvnode: make programs builds it") unless -x "$build/kvnode";

$SIG{PIPE} = 'IGNORE';
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP ALRM);

sub binary { "$build/$_[0]" }
sub owner  { $owner }

# A cluster: nodes that hear each other. `args` go to each; a name and a discovery port of their own keep it apart.
sub new {
    my ($class, %options) = @_;
    my $self = bless {
        name      => $options{cluster} // "test-$$-" . @clusters,
        discovery => free_port('udp'),
        args      => $options{args} // [],
        directory => "$directory/" . @clusters,
        nodes     => [],
    }, $class;
    mkdir $self->{directory} or die "cannot make $self->{directory}: $!";
    push @clusters, $self;
    return $self;
}

# Adds a node without starting it. Options: name, args, leader, group, bind, port, api, data, disk (a Cluster::Disk),
# prefix (words before the command).
sub node {
    my ($self, %options) = @_;
    my $node = Cluster::Node->new($self, %options);
    push @{ $self->{nodes} }, $node;
    return $node;
}

# Adds and starts `count` nodes, the first with -leader, and waits until all are members.
sub start {
    my ($self, $count, @args) = @_;
    my @nodes = map { $self->node(leader => $_ == 1, args => [@args]) } 1 .. $count;
    $_->start for @nodes;
    $self->settle(@nodes);
    return @nodes;
}

# Waits until the nodes agree on one leader and none is on its way into the group.
sub settle {
    my ($self, @nodes) = @_;
    @nodes = @{ $self->{nodes} } unless @nodes;
    poll(sub {
            my %role;
            for my $node (@nodes) {
                die "$node->{name} ended by itself" if $node->ended_unasked;
                my $health = $node->health or return 0;
                return 0 unless $health->{status} eq 'healthy';
                $role{ $health->{role} }++;
            }
            my $learners = $role{learner} // 0;
            return ($role{leader} // 0) == 1 && ($role{follower} // 0) + $learners == @nodes - 1
                && ($learners == 0 || @nodes > 3);
        }, 'the nodes to agree on one leader');
    return $self->leader(@nodes);
}

# The node that leads, by its own word.
sub leader {
    my ($self, @nodes) = @_;
    @nodes = grep { $_->running } @{ $self->{nodes} } unless @nodes;
    return poll(sub {
            for my $node (@nodes) {
                my $health = $node->health(2) or next;
                return $node if $health->{role} eq 'leader';
            }
            return;
        }, 'a node that leads');
}

# Reserves a port on each of the addresses (127.0.0.1 where none is named).
sub free_port {
    my ($protocol, @addresses) = @_;
    @addresses = ('127.0.0.1') unless @addresses;
    for (1 .. 100) {
        my ($port, @sockets) = 0;
        for my $address (@addresses) {
            my $socket = IO::Socket::INET->new(
                LocalAddr => $address, LocalPort => $port, Proto => $protocol, ReuseAddr => 1);
            last unless $socket;
            push @sockets, $socket;
            $port = $socket->sockport;
        }
        next unless @sockets == @addresses;
        push @reserved, @sockets;
        return $port;
    }
    die 'the kernel gave no free port';
}

# Helpers.

sub pause { select undef, undef, undef, $_[0] }

# Runs the code until it returns something true, which it returns; dies at the deadline.
sub poll {
    my ($code, $what, $seconds) = @_;
    my $until = time + ($seconds // $patience);
    while (1) {
        my $result = $code->();
        return $result if $result;
        die "waited in vain for $what" if time > $until;
        pause(0.02);
    }
}

# The first answer that is not "try again".
sub insist {
    my ($code) = @_;
    return poll(sub { my $reply = $code->(); $reply && $reply->{status} !~ /^50[34]$/ && $reply }, 'an answer');
}

# What a client tells one answer from another by.
sub gist {
    my ($reply) = @_;
    return 'no answer' unless $reply;
    return join ' | ', $reply->{status}, $reply->{body}, map { $reply->header($_) // 'none' } qw(ETag KV-Position);
}

sub slurp {
    my ($path) = @_;
    open my $file, '<:raw', $path or return '';
    local $/;
    return scalar(<$file>) // '';
}

sub spew {
    my ($path, $text) = @_;
    open my $file, '>:raw', $path or die "cannot write $path: $!";
    print {$file} $text;
    close $file or die "cannot write $path: $!";
}

# Runs a program to its end: exit status, standard output, standard error. Ended after `seconds`.
sub run {
    my ($command, %options) = @_;
    my ($out, $error) = map { "$directory/run-$$.$_" } qw(out err);
    my $pid = spawn($command, $options{directory} // $directory, $out, $error, $options{environment});
    my $status = reap($pid, $options{seconds} // $patience);
    if (!defined $status) {
        kill KILL => $pid;
        reap($pid);
        $status = 'it did not end';
    } else {
        $status = $status & 127 ? 'signal ' . ($status & 127) : $status >> 8;
    }
    my @result = ($status, slurp($out), slurp($error));
    unlink $out, $error;
    return @result;
}

# Starts a program; output files are appended to. `environment` is added to the test's own.
sub spawn {
    my ($command, $folder, $out, $error, $environment) = @_;
    my $pid = fork // die "cannot fork: $!";
    return $pid if $pid;
    $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP ALRM PIPE);
    %ENV = (%ENV, %{ $environment // {} });
    chdir $folder and open(STDIN, '<', '/dev/null') and open(STDOUT, '>>', $out) and open(STDERR, '>>', $error)
        and exec { $command->[0] } @$command;
    require POSIX;
    POSIX::_exit(127);
}

# The wait status of a child that has ended within `seconds`, or undef.
sub reap {
    my ($pid, $seconds) = @_;
    my $until = time + ($seconds // $patience);
    while (1) {
        my $done = waitpid $pid, 1;    # WNOHANG
        return $? if $done == $pid;
        return if $done < 0 || time > $until;
        pause(0.005);
    }
}

sub json_of { JSON::PP->new->utf8->allow_nonref->decode($_[0]) }
sub text_of { JSON::PP->new->utf8->allow_nonref->canonical->encode($_[0]) }

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return $sorted[$#sorted / 2];
}

# The end of every test file: ends all nodes; none may have ended by itself or left a sanitizer's report.
sub finish {
    my @nodes = map { @{ $_->{nodes} } } @clusters;
    my @gone  = grep { $_->ended_unasked } @nodes;
    is(join(', ', map { "$_->{name} ($_->{status})" } @gone), '', 'no node ended unless it was told to');
    $_->kill9 for grep { $_->running } @nodes;
    my @reports = grep { $_->log =~ /(?:AddressSanitizer|LeakSanitizer|runtime error:|Assertion .* failed)/ } @nodes;
    is(join(', ', map { $_->{name} } @reports), '', 'no log holds a report of a sanitizer or a failed assertion');
    $finished = 1;
    done_testing();
}

sub print_logs {
    for my $node (map { @{ $_->{nodes} } } @clusters) {
        my @lines = split /\n/, $node->log;
        splice @lines, 40, -60, '...' if @lines > 100;
        diag "log of $node->{name} (port $node->{port}):";
        diag "    $_" for @lines;
    }
}

END {
    if ($$ == $owner) {
        my $status = $?;
        Cluster::Load::end_all();
        $_->kill9 for grep { $_->running } map { @{ $_->{nodes} } } @clusters;
        print_logs() if !$finished || !Test::More->builder->is_passing;
        chmod 0700, glob "$directory/*/*";
        remove_tree($directory);
        $? = $status;
    }
}

1;
