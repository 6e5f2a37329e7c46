# An HTTP client on a bare socket: what was sent and what came back, byte for byte.
package Cluster::Connection;

use strict;
use warnings;
use Errno;
use IO::Socket::INET;
use Time::HiRes qw(time);

sub new {
    my ($class, $host, $port) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port, Proto => 'tcp', Timeout => 5) or return;
    return bless { socket => $socket, input => '', host => "$host:$port" }, $class;
}

sub send {
    my ($self, $data) = @_;
    while (length $data) {
        my $sent = syswrite $self->{socket}, $data;
        $self->{ended} = 1 unless $sent;
        return 0 unless $sent;
        substr($data, 0, $sent) = '';
    }
    return 1;
}

# Headers are lines; Host, and for a body its length and type, are added where they are not among them.
sub request_text {
    my ($self, $method, $target, %options) = @_;
    my @lines = @{ $options{headers} // [] };
    my $names = join ' ', map { lc((split /:/)[0]) } @lines;
    push @lines, "Host: $self->{host}" unless $names =~ /\bhost\b/;
    if (defined $options{body}) {
        push @lines, 'Content-Type: application/json' unless $names =~ /\bcontent-type\b/;
        push @lines, 'Content-Length: ' . length $options{body}
            unless $names =~ /\b(?:content-length|transfer-encoding)\b/;
    }
    return join("\r\n", "$method $target HTTP/1.1", @lines, '', '') . ($options{body} // '');
}

sub send_request {
    my ($self, @request) = @_;
    return $self->send($self->request_text(@request));
}

# Reads once; false at the end of the stream or at the deadline.
sub more {
    my ($self, $until) = @_;
    my $wait = $until - time;
    my $bits = '';
    vec($bits, fileno $self->{socket}, 1) = 1;
    return 0 if $wait <= 0;
    my $ready = select $bits, undef, undef, $wait;
    return $ready < 0 ? $!{EINTR} : 0 if $ready <= 0;
    my $got = sysread $self->{socket}, $self->{input}, 1 << 18, length $self->{input};
    return 1 if !defined $got && $!{EINTR};
    $self->{ended} = 1 unless $got;
    return $got;
}

# The next answer, or undef. `head`: it answers a HEAD.
sub response {
    my ($self, %options) = @_;
    my $until = time + ($options{seconds} // $Cluster::patience);
    while (index($self->{input}, "\r\n\r\n") < 0) {
        $self->more($until) or return;
    }
    my $head = substr $self->{input}, 0, index($self->{input}, "\r\n\r\n") + 4, '';
    my ($first, @lines) = split /\r\n/, $head;
    my %header = map { my ($name, $value) = split /: /, $_, 2; (lc $name => $value) } @lines;
    my ($status) = $first =~ m{^HTTP/1\.1 (\d{3}) } or die "no status in '$first'";
    my $body = '';
    if ($header{'transfer-encoding'} && !$options{head}) {
        $body = $self->chunks($until);
    } elsif (!$options{head} && $status >= 200) {
        my $size = $header{'content-length'} // die "no length in '$head'";
        while (length $self->{input} < $size) {
            $self->more($until) or return;
        }
        $body = substr $self->{input}, 0, $size, '';
    }
    return unless defined $body;
    return bless { status => $status, head => $head, header => \%header, body => $body }, 'Cluster::Response';
}

sub chunks {
    my ($self, $until) = @_;
    my $body = '';
    while (1) {
        while (index($self->{input}, "\r\n") < 0) {
            $self->more($until) or return;
        }
        my ($digits) = $self->{input} =~ /^([0-9A-Fa-f]+)\r\n/ or die 'a chunk has no size';
        my ($start, $size) = (length($digits) + 2, hex $digits);
        while (length $self->{input} < $start + $size + 2) {
            $self->more($until) or return;
        }
        $body .= substr $self->{input}, $start, $size;
        die 'a chunk does not end with CR LF' unless substr($self->{input}, $start + $size, 2) eq "\r\n";
        substr($self->{input}, 0, $start + $size + 2) = '';
        return $body if $size == 0;
    }
}

# Everything up to the end of the stream; undef where that did not come.
sub rest {
    my ($self, $seconds) = @_;
    my $until = time + ($seconds // $Cluster::patience);
    1 while $self->more($until);
    return $self->{ended} ? $self->{input} : undef;
}

package Cluster::Response;

sub json { Cluster::json_of($_[0]{body}) }
sub header { $_[0]{header}{ lc $_[1] } }

1;
