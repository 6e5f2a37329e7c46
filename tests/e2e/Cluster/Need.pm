# What a test needs of the machine. Where it is missing the test, or the rest of it, is skipped and says why; under KVNODE_CI,
# as .ci/run sets it, it fails instead: there nothing goes untested in silence.
package Cluster::Need;

use strict;
use warnings;
use Exporter 'import';
use Test::More;

our @EXPORT = qw(need need_part);

sub missing {
    my ($what) = @_;
    die "$what, and KVNODE_CI lets no test be skipped\n" if $ENV{KVNODE_CI};
}

# Of a whole file or subtest, before its first test.
sub need {
    my ($there, $otherwise) = @_;
    return if $there;
    missing($otherwise);
    plan skip_all => $otherwise;
}

# Of the `count` tests that are left in a block SKIP.
sub need_part {
    my ($there, $otherwise, $count) = @_;
    return if $there;
    missing($otherwise);
    no warnings 'exiting';
    skip $otherwise, $count;
}

1;
