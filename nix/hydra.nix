# hydraJobs: every check on every system, and the site, which is made anew when a result set is added.
{ lib, checks, scopes }:
{
  inherit checks;
  site = lib.mapAttrs (_: scope: scope.site) scopes;
}
