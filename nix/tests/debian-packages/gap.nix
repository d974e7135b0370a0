# What lies between the release that the profile is written for and an older one, and between NixOS's programs and
# Debian's.
{ pkgs, lib, missing }:
{ config, options, ... }:
let
  later = lib.mkOption { type = lib.types.anything or lib.types.unspecified; default = null; };
  # Lists of several modules add up in settings.
  settings = lib.mkOption { type = (pkgs.formats.json { }).type; default = { }; };
  declared = name:
    lib.setAttrByPath (lib.splitString "." name) (if lib.hasSuffix ".settings" name then settings else later);
  manager = config.systemd.settings.Manager;
  text = value: if builtins.isBool value then (if value then "yes" else "no") else toString value;
in
{
  imports = [
    # One that is declared within another; and Clan's keys end with a line, which is no part of a unit's name.
    { options.networking.wireguard.interfaces = lib.mkOption {
        type = lib.types.attrsOf (lib.types.submodule {
          options.mtu = later;
          options.peers = lib.mkOption {
            type = lib.types.listOf (lib.types.submodule {
              options.publicKey = lib.mkOption { apply = lib.removeSuffix "\n"; };
            });
          };
        });
      };
    }
  ];
  # Too unlike its later self; nothing of it is run.
  disabledModules = [ "services/networking/zerotierone.nix" ];
  options = builtins.foldl' lib.recursiveUpdate { } (map declared (missing ++ [ "services.zerotierone" ]));
  config = {
    nixpkgs.pkgs = lib.mkForce pkgs;
    nixpkgs.system = pkgs.system;
    nixpkgs.localSystem.system = pkgs.system;
    boot.kernelPackages = lib.mkForce pkgs.linuxPackages;
    system.build.initialRamdisk = pkgs.emptyDirectory;
    system.build.initialRamdiskSecretAppender = pkgs.emptyDirectory;
    boot.loader.initScript.enable = false;
    i18n.supportedLocales = lib.mkForce [ ];
    fonts.fontconfig.enable = false;
    console.packages = [ ];
    environment.etc."nix/nix.conf".enable = false;
    environment.etc."udev/hwdb.bin".enable = false;
    systemd.services.nix-daemon.enable = false;
    systemd.sockets.nix-daemon.enable = false;
    xdg = lib.genAttrs [ "autostart" "icons" "menus" "mime" "sounds" ] (_: { enable = false; });
    security.polkit.enable = false;
    systemd.extraConfig = lib.mkIf (builtins.elem "systemd.settings.Manager" missing && manager != null)
      (lib.concatStrings (lib.mapAttrsToList (name: value: "${name}=${text value}\n") manager));

    # It would have to be compiled, and later releases have none for ping.
    security.wrappers = lib.mkForce { };

    # Under another name since: what the harness writes leads into the store.
    nix.readOnlyStore = false;
    # What a switch starts in later releases.
    systemd.targets.sysinit-reactivation = { };

    # Debian's programs look for their parts where Debian has them; its units are not NixOS's.
    system.activationScripts.debian = ''
      mkdir -p /usr/lib/systemd /usr/share
      for part in ${pkgs.debian}/usr/lib/systemd/*; do
        case ''${part##*/} in
          system | user | *-preset | *.conf.d) ;;
          *) ln -sfn $part /usr/lib/systemd/ ;;
        esac
      done
      ln -sfn ${pkgs.debian}/usr/lib/udev /usr/lib/udev
      ln -sfn ${pkgs.debian}/usr/share/dbus-1 /usr/share/dbus-1
      ln -sfn /run/booted-system/kernel-modules/lib/modules /usr/lib/modules
      ln -sfn usr/lib /lib
    '';
  };
}
