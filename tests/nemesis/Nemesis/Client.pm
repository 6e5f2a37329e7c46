# Clients, a process each, that write, read and list keys and record what they were answered, as tests/check/history.h
# describes it.
#
# Keys are of a time: every two seconds there are new ones, so that what became of a write that was never answered has to be
# considered for few others.
package Nemesis::Client;

use strict;
use warnings;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use Cluster;
use Cluster::Connection;

my $KEYS = 4;       # at a time
my $EPOCH = 2e6;    # microseconds of a time

# Errors by which nothing was appended.
my %refusal = map { $_ => 1 } qw(overload no_leader no_majority shutting_down deadline disk_full group_unreachable removed);

sub now_us { return int(1e6 * clock_gettime(CLOCK_MONOTONIC)) }

# Starts a client. Options: nodes, file, process, seed, ack (the group's mode), begun (now_us at the start of all).
sub start {
    my ($class, %options) = @_;
    my $pid = fork // die "cannot fork: $!";
    return bless { pid => $pid, file => $options{file} }, $class if $pid;
    my $self = bless { %options, number => 0, connections => {}, seen => {} }, $class;
    $SIG{TERM} = sub { $self->{stop} = 1 };
    srand $options{seed};
    open $self->{record}, '>', $options{file} or die "$options{file}: $!";
    my $done = eval { $self->one until $self->{stop}; close $self->{record} };
    print STDERR "client $options{process}: $@" unless $done;
    require POSIX;
    POSIX::_exit(!$done);
}

# Ends after its last answer; false where it had died.
sub end {
    my ($self) = @_;
    kill TERM => $self->{pid};
    return (Cluster::reap($self->{pid}, 30) // 1) == 0;
}

# Reads all keys that the clients wrote, linearizably, through one node; appended to a history of its own.
sub read_all {
    my ($class, $node, $file, $process, @keys) = @_;
    my $self = bless { nodes => [$node], process => $process, connections => {} }, $class;
    open $self->{record}, '>', $file or die "$file: $!";
    for my $key (@keys) {
        my $what = { kind => 'get', key => $key, linearizable => 1, seconds => 10 };
        Cluster::poll(sub { $self->attempt($what, $node) eq 'ok' }, "an answer for $key");
    }
    close $self->{record};
}

sub chance { return rand 100 < $_[0] }

sub key {
    my ($self) = @_;
    $self->{epoch} = int((now_us() - $self->{begun}) / $EPOCH);
    return sprintf 'e%03d-%d', $self->{epoch}, int rand $KEYS;
}

sub write_of {
    my ($self, $key) = @_;
    my $what = { kind => chance(85) ? 'set' : 'delete', key => $key, number => ++$self->{number} };
    $what->{value} = "p$self->{process}n$what->{number}" if $what->{kind} eq 'set';
    my $seen = $self->{seen}{$key};
    $what->{condition} = chance(25) || !$seen ? 'if-none-match=*' : chance(10) ? 'if-match=*' : "if-match=$seen" if chance(25);
    $what->{ack} = chance(10) ? 'all' : 'quorum' if chance(40);
    $what->{pair} = 1 if chance(25);
    delete $what->{ack} if $what->{ack} && $self->{ack} eq 'all' && $what->{ack} eq 'quorum';
    $what->{weak} = $self->{ack} eq 'async' && !$what->{ack} && !$what->{pair};
    return $what;
}

sub one {
    my ($self) = @_;
    my $key = $self->key;
    my $roll = rand 100;
    my $what
        = $roll < 50 ? $self->write_of($key)
        : $roll < 95 ? { kind => 'get', key => $key, linearizable => chance(60) }
        :   { kind => 'keys', prefix => sprintf('e%03d-', $self->{epoch}), linearizable => chance(70), chance(30) ? (limit => 2) : () };
    $what->{seconds} = chance(20) ? 0.3 : chance(30) ? 1.5 : 6;
    my $outcome = $self->attempt($what, $self->any_node);
    if ($what->{pair}) {
        for (1 .. 4) {
            last if $outcome eq 'ok' || $outcome eq 'failed' || $self->{stop};
            Cluster::pause(rand 0.3);
            $outcome = $self->attempt($what, $self->any_node);
        }
        # A retry of what was answered changes nothing.
        $self->attempt($what, $self->any_node) if $outcome eq 'ok' && chance(10);
    }
    Cluster::pause(0.002 + rand 0.02);
}

sub any_node { my ($self) = @_; return $self->{nodes}[rand @{ $self->{nodes} }] }

sub request_of {
    my ($self, $what) = @_;
    my $query = $what->{kind} eq 'delete' || $what->{kind} eq 'get' ? "key=$what->{key}" : '';
    $query .= '&consistency=linearizable' if $what->{linearizable};
    $query .= "&ack=$what->{ack}" if $what->{ack};
    $query .= "&prefix=$what->{prefix}" if $what->{prefix};
    $query .= "&limit=$what->{limit}" if $what->{limit};
    my @headers;
    my ($condition, $version) = split /=/, $what->{condition} // '';
    push @headers, ($condition eq 'if-match' ? 'If-Match: ' : 'If-None-Match: ') . ($version eq '*' ? '*' : qq("$version"))
        if defined $version;
    push @headers, "KV-Client: c$self->{process}", "KV-Request: r$what->{number}" if $what->{pair};
    my $method = { set => 'POST', delete => 'DELETE' }->{ $what->{kind} } // 'GET';
    my @body = $what->{kind} eq 'set' ? (body => qq({"key":"$what->{key}","value":"$what->{value}"})) : ();
    $query =~ s/^&?/?/ if $query ne '';
    return ($method, "/$what->{kind}$query", headers => \@headers, @body);
}

# One request to one node, recorded. Returns its outcome; 'none' where no connection was to be had.
sub attempt {
    my ($self, $what, $node) = @_;
    my $number = $node->{number};
    my $connection = $self->{connections}{$number} //= Cluster::Connection->new($node->{bind}, $node->{api});
    if (!$connection) {
        Cluster::pause(0.02);
        return 'none';
    }
    my $begin = now_us();
    my $sent = $connection->send_request($self->request_of($what));
    my $reply = $sent ? $connection->response(seconds => $what->{seconds}) : undef;
    my $end = now_us();
    delete $self->{connections}{$number} if !$reply || lc($reply->header('Connection') // '') eq 'close';
    return $self->record($what, $number, $begin, $end, $reply);
}

sub outcome_of {
    my ($what, $reply) = @_;
    return 'unknown' unless $reply;
    my $status = $reply->{status};
    return 'ok' if $status == 200 || ($status == 404 && $what->{kind} eq 'get');
    return 'failed' if $status == 412;
    die "$what->{kind}: status $status: $reply->{body}\n" if $status < 500 && $status !~ /^(?:408|409|421|429)$/;
    die "$what->{kind}: $reply->{body}\n" if $reply->json->{error} eq 'request_reused';
    return $status < 500 || $refusal{ $reply->json->{error} } ? 'refused' : 'unknown';
}

sub record {
    my ($self, $what, $number, $begin, $end, $reply) = @_;
    my $outcome = outcome_of($what, $reply);
    my @words = ($what->{kind}, "process=$self->{process}", "node=$number", "begin=$begin", $outcome);
    push @words, "end=$end" if $reply;
    push @words, "key=$what->{key}" if $what->{key};
    push @words, 'weak' if $what->{weak};
    push @words, 'linearizable' if $what->{linearizable};
    push @words, $what->{condition} if $what->{condition};
    push @words, "client=c$self->{process}", "request=r$what->{number}" if $what->{pair};
    push @words, "value=$what->{value}" if $what->{value};
    push @words, map { $what->{$_} ? "$_=$what->{$_}" : () } qw(prefix limit);
    if ($reply && $outcome =~ /^(?:ok|failed)$/) {
        my ($etag) = ($reply->header('ETag') // '') =~ /^"(.*)"$/;
        push @words, "etag=$etag" if defined $etag;
        push @words, $reply->{status} == 404 ? 'absent' : 'value=' . $reply->json->{value} if $what->{kind} eq 'get';
        my $staleness = $reply->header('KV-Staleness-Ms');
        # Two clocks are read, in whole milliseconds.
        push @words, 'staleness-ms=' . ($staleness + 2) if $what->{kind} eq 'get' && ($staleness // '') =~ /^\d+$/;
        push @words, 'listed=' . join ',', @{ $reply->json->{keys} } if $what->{kind} eq 'keys';
        $self->{seen}{ $what->{key} } = $etag if $what->{key};
    }
    my $line = join(' ', @words) . "\n";
    print { $self->{record} } $line or die "cannot record: $!";
    return $outcome;
}

1;
