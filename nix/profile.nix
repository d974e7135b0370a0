# A NixOS configuration that is a meshbench guest: the agent, the tools that harness and lifecycles use, and nothing
# that runs beside the VPN. It is to differ from the Debian guest in nothing that a measurement could see.
#
# What a machine of ours cannot do without is forced: a configuration of a member (from-nodes.nix) was written for
# hardware with a boot loader and disks.
{ config, lib, pkgs, ... }:
let
  off = { enable = lib.mkForce false; };
  # Also what a member's own configuration only proposes goes before it.
  weak = lib.mkOverride 1200;
  networkd = config.systemd.network.enable;
  # The last one is for programs that a guest's own store path lacks, such as those of an earlier system.
  path = "/run/wrappers/bin:/run/current-system/sw/bin:/usr/bin";
in
{
  options.meshbench.agent = lib.mkOption {
    type = lib.types.package;
    description = "The package with the static program bin/meshbench-agent.";
  };

  config = {
    environment.systemPackages = [
      pkgs.conntrack-tools
      pkgs.curl
      pkgs.e2fsprogs
      pkgs.ethtool
      pkgs.iperf3
      pkgs.iproute2
      pkgs.iputils
      pkgs.jq
      pkgs.kmod
      pkgs.librist
      pkgs.nftables
      pkgs.nginx
      pkgs.nix
      pkgs.openssl
      pkgs.procps
      pkgs.rsync
      pkgs.tcpdump
      pkgs.util-linux
    ];

    # Only the agent; a VPN is a unit that the harness adds. sysinit.target brings kernel modules, sysctl and temporary
    # files; basic.target would also bring sockets and timers, such as D-Bus and the cleaning of /tmp.
    systemd.defaultUnit = lib.mkForce "meshbench.target";
    systemd.targets.meshbench = {
      wants = [ "sysinit.target" ];
      after = [ "sysinit.target" ];
      unitConfig = { DefaultDependencies = false; AllowIsolate = true; };
    };
    systemd.services.meshbench-agent = {
      description = "meshbench agent";
      wantedBy = [ "meshbench.target" ];
      restartIfChanged = false;
      unitConfig = { DefaultDependencies = false; IgnoreOnIsolate = true; };
      environment = { PATH = lib.mkForce path; HOME = "/root"; };
      serviceConfig = {
        ExecStart = "${config.meshbench.agent}/bin/meshbench-agent";
        StandardError = "file:/dev/console";
        Restart = "always";
        RestartSec = 0;
        TasksMax = "infinity";
        OOMScoreAdjust = -900;
      };
    };

    # No journal: it would work beside the VPN. Warnings go to the console, which is a log of the harness.
    systemd.services.systemd-journald = off;
    systemd.services.systemd-journal-flush = off;
    systemd.sockets.systemd-journald = off;
    systemd.sockets.systemd-journald-dev-log = off;
    systemd.settings.Manager = {
      LogTarget = "kmsg";
      LogLevel = "warning";
      ShowStatus = false;
      DefaultStandardOutput = "null";
      DefaultStandardError = "null";
      # NixOS counts the bytes of every unit, with a program that the kernel runs for each packet.
      DefaultIPAccounting = false;
      DefaultIOAccounting = false;
      # No unit of a device ever comes up without udev.
      DefaultDeviceTimeoutSec = if networkd then "90s" else "1s";
      # For units that the harness writes, which know no store path.
      DefaultEnvironment = ''"PATH=${path}"'';
    };
    systemd.enableEmergencyMode = false;
    systemd.coredump = off;
    systemd.oomd = off;
    # A console would wait for its device.
    systemd.generators.systemd-getty-generator = "/dev/null";
    # The root is as it should be, and there are no devices to wait for, but by systemd-networkd: it takes a card that
    # udev does not know for one that is not there yet.
    systemd.suppressedSystemUnits = [ "systemd-remount-fs.service" ] ++ lib.optionals (!networkd) [
      "systemd-udev-trigger.service"
      "systemd-udevd-control.socket"
      "systemd-udevd-kernel.socket"
      "systemd-udevd-varlink.socket"
      "systemd-udevd.service"
    ];

    # The agent is init in a small initrd of ours (./guest.nix), and has mounted everything.
    boot.initrd = off;
    # Until May 2026, NixOS linked these into a system all the same.
    system.build.initialRamdisk = pkgs.emptyDirectory;
    system.build.initialRamdiskSecretAppender = pkgs.emptyDirectory;
    boot.loader.grub = off;
    boot.loader.systemd-boot = off;
    # A member's own may be forced, too.
    fileSystems = lib.mkOverride 10 { "/" = { device = "overlay"; fsType = "overlay"; }; };
    swapDevices = lib.mkOverride 10 [ ];
    services.udev.enable = lib.mkForce networkd;
    # The harness writes unit files and /etc/hosts, which lead into the store; all of it is a layer under the
    # machine's own disk.
    boot.nixStoreMountOpts = [ "nodev" "nosuid" ];

    # The network is the harness's. A NixOS firewall would be one more thing than the Debian guest has: firewalls
    # stand at the sites, where a scenario puts them.
    networking.hostName = weak "machine";
    networking.useDHCP = lib.mkForce false;
    networking.dhcpcd = off;
    networking.resolvconf = off;
    networking.networkmanager = off;
    networking.firewall.enable = weak false;
    networking.usePredictableInterfaceNames = lib.mkForce false;
    # A member's own networkd (from-nodes.nix) keeps off the card, and nothing waits for it.
    systemd.network.networks."00-meshbench" = {
      matchConfig.Name = "eth*";
      linkConfig.Unmanaged = true;
    };
    systemd.network.wait-online.enable = lib.mkForce false;
    networking.tempAddresses = lib.mkForce "disabled";
    # systemd's sysctl file would set the default queue and the reverse path filter.
    environment.etc."sysctl.d/50-default.conf" = off;
    services.timesyncd = off;

    # No users, no consoles, no documents; Nix is a program of workloads, and has nothing of the system's.
    users.allowNoPasswordLogin = true;
    console = off;
    documentation = off;
    environment.defaultPackages = lib.mkForce [ ];
    nix = off // {
      # Both ask for a Nix that is on.
      gc.automatic = lib.mkForce false;
      optimise.automatic = lib.mkForce false;
    };
    programs.command-not-found = off;
    programs.nano = off;
    security.sudo = off;
    services.logrotate = off;
    services.lvm = off;
    services.nscd = off;
    system.nssModules = lib.mkForce [ ];
    system.switch.enable = weak false;
    system.stateVersion = weak lib.trivial.release;
  };
}
