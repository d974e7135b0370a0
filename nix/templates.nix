{
  vpn = {
    path = ../modules/_template;
    description = "A VPN for meshbench: works as it stands (WireGuard), to be replaced piece by piece";
    welcomeText = ''
      Replace NAME in the three files. In meshbench itself this is the folder modules/NAME; in a repository of your
      own, `nix flake init -t meshbench#flake` beside it makes checks of it.
    '';
  };
  flake = {
    path = ./template;
    description = "A flake that checks a VPN of your own with meshbench";
  };
}
