# What a kernel draws at random once and then uses for everything: a line each of a name and numbers.
use strict;
use warnings;
use Socket;

sub uptime_ms {
    open my $file, '<', '/proc/uptime' or die;
    return 1000 * (split ' ', <$file>)[0];
}

sub sock {
    my ($kind, $port) = @_;
    socket my $socket, PF_INET, $kind, 0 or die "socket: $!";
    setsockopt $socket, SOL_SOCKET, SO_REUSEADDR, 1 or die "setsockopt: $!";
    bind $socket, sockaddr_in($port, INADDR_LOOPBACK) or die "bind: $!" if defined $port;
    return $socket;
}

sub port_of { return (sockaddr_in(getsockname $_[0]))[0] }

my $listener = sock(SOCK_STREAM, 40000);
listen $listener, 100 or die "listen: $!";
my $there = sockaddr_in(40000, INADDR_LOOPBACK);

# Sees every segment that arrives.
socket my $raw, PF_INET, SOCK_RAW, 6 or die "raw socket: $!";
my (@clocks, @stamps, @open);
for my $port (41000 .. 41003) {
    my $socket = sock(SOCK_STREAM, $port);
    my $began = `date +%s%N`;
    connect $socket, $there or die "connect: $!";
    push @open, $socket;
    while (1) {
        recv $raw, my $packet, 2000, 0;
        my $segment = substr $packet, 4 * (ord($packet) & 15);
        my ($from, $to, $sequence, undef, $offset, $flags) = unpack 'nnNNCC', $segment;
        next unless $from == $port and $to == 40000 and ($flags & 0x12) == 2;
        # RFC 6528: a hash of the connection by a secret, and a clock of 64 ns.
        push @clocks, ($sequence - ($began >> 6)) % 2**32;
        my $options = substr $segment, 20, 4 * ($offset >> 4) - 20;
        while (length $options) {
            my ($kind, $length) = unpack 'CC', $options;
            push @stamps, (unpack('xxN', $options) - int uptime_ms()) % 2**32 if $kind == 8;
            $options = substr $options, $kind == 1 ? 1 : $length;
        }
        last;
    }
}
print "sequence-numbers @clocks\n", "timestamps @stamps\n";

my (@tcp, @udp);
for (1 .. 10) {
    my ($stream, $datagrams) = (sock(SOCK_STREAM), sock(SOCK_DGRAM));
    connect $stream, $there or die "connect: $!";
    send $datagrams, 'x', 0, $there;
    push @open, $stream, $datagrams;
    push @tcp, port_of($stream);
    push @udp, port_of($datagrams);
}
print "tcp-ports @tcp\n", "udp-ports @udp\n";
