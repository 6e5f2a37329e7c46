# The rules of the house, proved by grep: which folder may include which, and what only shells (*_io.c) may touch.
use strict;
use warnings;
use FindBin;
use Test::More;

chdir "$FindBin::Bin/../.." or die "cannot find the sources: $!";

# What a folder may include beside itself; arrows are transitive.
my %may = (
    storage     => [],
    cluster     => [],
    discovery   => ['cluster'],
    sharding    => ['cluster'],
    replication => ['storage', 'cluster'],
    api         => ['replication', 'storage', 'sharding', 'cluster'],
    cmd         => ['api', 'replication', 'discovery', 'sharding', 'cluster', 'storage'],
);

# The small base, which lives in storage/ and is everybody's.
my %base = map { ("storage/$_.h" => 1) } qw(bytes buffer wire crc32c slot random name);

sub lines_of {
    my ($path) = @_;
    open my $file, '<', $path or die "cannot read $path: $!";
    my @lines = <$file>;
    chomp @lines;
    return @lines;
}

# The source without its comments and the insides of its strings, line by line.
sub code_of {
    my ($path) = @_;
    my $text = join "\n", lines_of($path);
    $text =~ s{("(?:[^"\\\n]|\\.)*")|('(?:[^'\\\n]|\\.)*')|(/\*.*?\*/)|(//[^\n]*)}
        {defined $1 ? '""' : defined $2 ? "''" : defined $3 ? $3 =~ tr/\n//cdr : ''}gse;
    return split /\n/, $text;
}

sub offences {
    my ($test, @files) = @_;
    my @found;
    for my $path (@files) {
        my $number = 0;
        for my $line (code_of($path)) {
            $number++;
            push @found, "$path:$number: $line" if $test->($line, $path);
        }
    }
    return join "\n", @found;
}

my @sources = map { glob "$_/*.c $_/*.h" } sort keys %may;
my @cores = grep { !/_io\.[ch]$/ } @sources;
my @shells = grep { /_io\.c$/ } @sources;
cmp_ok(scalar @cores, '>', 50, 'there are sources to look at');
cmp_ok(scalar @shells, '>', 4, 'and shells among them');

for my $folder (sort keys %may) {
    my %allowed = map { $_ => 1 } $folder, @{ $may{$folder} };
    my @found;
    for my $path (glob "$folder/*.c $folder/*.h") {
        my $number = 0;
        for my $line (lines_of($path)) {
            $number++;
            next unless $line =~ /^\s*#\s*include\s*"([^"]+)"/;
            my $included = $1;
            my ($from) = $included =~ m{^([a-z]+)/[a-z0-9_]+\.h$};
            push @found, "$path:$number: $included" unless $from && ($allowed{$from} || $base{$included});
        }
    }
    is(join("\n", @found), '',
        "$folder/ includes only " . join ', ', $folder, @{ $may{$folder} }, 'and the base');
}

for my $header (sort keys %base) {
    my @found = grep { /^\s*#\s*include\s*"([^"]+)"/ && !$base{$1} } lines_of($header);
    is("@found", '', "$header stands on the base alone");
}

my $system = join '|', qw(event2/[a-z_]+ sys/socket sys/epoll sys/eventfd sys/select poll netinet/[a-z]+
    net/if ifaddrs netdb pthread threads signal sys/signalfd sys/time sys/resource time);
is(offences(sub { $_[0] =~ /^\s*#\s*include\s*<(?:$system)\.h>/ }, @cores), '',
    'only shells (*_io.c) include libevent, sockets, threads, signals or the clock');

my $calls = join '|', qw(time clock_gettime gettimeofday clock rand srand random srandom drand48 arc4random
    arc4random_buf arc4random_uniform getrandom getentropy usleep nanosleep sleep socket pthread_create);
is(offences(sub { $_[0] =~ /(?<![\w.>])(?:$calls)\s*\(/ }, @cores), '', 'cores ask for no time, no chance, no sockets');

is(offences(sub { $_[0] =~ /\bCLOCK_(?!REALTIME\b|SIZE_)/ }, grep { $_ ne 'storage/clock_io.c' } @sources), '',
    'time that passes is read in one place, which counts suspension too');

is(offences(sub { $_[0] =~ /\b(?:stderr|stdout|perror|v?warnx?|v?syslog|(?<!format\()printf|puts|putchar)\b/ }, @cores), '',
    'cores print nothing');

# Out of memory ends the process (err(3)); nothing else does.
my @memory = grep { !m{^cmd/} } @cores;
is(offences(sub { $_[0] =~ /\b(?:exit|_exit|errx|quick_exit)\s*\(/ }, @memory), '', 'cores end no process');

is(offences(sub { $_[0] =~ /^static\s+(?!(?:inline|_Noreturn|_Thread_local)\b)(?!.*\bconst\b)[^(]*(?:;|=)/ }, @sources), '',
    'no state lives in a file\'s scope');

is(offences(sub { $_[0] =~ /\b(?:strcpy|strcat|sprintf|gets|strtok|atoi)\s*\(/ }, @sources), '',
    'no call that writes without a bound or reads a number without an error');

my @long;
for my $path (@sources) {
    my @lines = lines_of($path);
    push @long, "$path: " . @lines if @lines > 650;
}
is(join("\n", @long), '', 'a file holds one idea: about 600 lines at most');

my @marks = grep { $_ !~ m{/layers\.t:} } map {
    my $path = $_;
    my $number = 0;
    map { $number++; /\b(?:TODO|FIXME|XXX|HACK)\b/ ? "$path:$number: $_" : () } lines_of($path)
} @sources, glob 'tests/*/*.[tch] tests/*/*/*.[ch] tests/e2e/*/*.pm';
is(join("\n", @marks), '', 'nothing is left to be done later');

done_testing();
