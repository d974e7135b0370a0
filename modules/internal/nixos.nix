# The wire needs nothing; gateways that grant port forwards, which run on the same guest, need their server.
{ pkgs, ... }:
{
  environment.systemPackages = [ (pkgs.miniupnpd.override { firewall = "nftables"; }) pkgs.dnsmasq pkgs.tayga ];
}
