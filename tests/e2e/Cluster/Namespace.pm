# A test in namespaces of its own: it runs itself again in them, and they end with it, however it ends.
package Cluster::Namespace;

use strict;
use warnings;
use Exporter 'import';

use Cluster::Need;

our @EXPORT = qw(enter_namespace command nft);

my $outside = 'KVNODE_TEST_OUTSIDE';    # the network namespace that the test was started in

sub own_namespace { return readlink('/proc/self/ns/net') // '' }

sub command {
    my (@command) = @_;
    system(@command) == 0 or die "failed: @command";
}

sub nft {
    my ($text) = @_;
    open my $nft, '|-', 'nft', '-f', '-' or die "cannot run nft: $!";
    print {$nft} $text;
    close $nft or die "nft refused: $text";
}

# Returns once inside. With the options of unshare; `try` is all that the test needs of the machine, tried once in
# namespaces that are gone again: where it fails the test is skipped, with `cannot` and why.
sub enter_namespace {
    my ($cannot, $try, @options) = @_;
    my $here = own_namespace();
    if (defined $ENV{$outside}) {
        die 'this is the network namespace of the machine' if $ENV{$outside} eq $here;
        return;
    }
    $ENV{PATH} .= ':/usr/sbin:/sbin';
    need($here ne '', 'this kernel has no network namespaces');
    my @unshare = ('unshare', $> == 0 ? () : '--map-root-user', @options);
    my $said = `@unshare sh -c '$try' 2>&1`;
    need($? == 0, "$cannot: " . ($said =~ /(\S.*)/ ? $1 : 'unshare failed'));
    $ENV{$outside} = $here;
    exec @unshare, $^X, $0, @ARGV or die "cannot run unshare: $!";
}

1;
