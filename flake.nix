{
  description = "Which mesh VPN holds up? Measured on QEMU clusters behind real NATs and bad links";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs = { self, nixpkgs }: import ./nix { inherit self nixpkgs; };
}
