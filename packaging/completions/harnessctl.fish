# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_harnessctl_global_optspecs
    string join \n config= output= q/quiet v/verbose h/help V/version
end

function __fish_harnessctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_harnessctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_harnessctl_using_subcommand
    set -l cmd (__fish_harnessctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c harnessctl -n "__fish_harnessctl_needs_command" -l config -d 'The configuration' -r -F
complete -c harnessctl -n "__fish_harnessctl_needs_command" -l output -d 'Form of the answer' -r -f -a "text\t''
json\t''"
complete -c harnessctl -n "__fish_harnessctl_needs_command" -s q -l quiet -d 'No remarks, only the answer and errors'
complete -c harnessctl -n "__fish_harnessctl_needs_command" -s v -l verbose -d 'Say what is done'
complete -c harnessctl -n "__fish_harnessctl_needs_command" -s h -l help -d 'Print help'
complete -c harnessctl -n "__fish_harnessctl_needs_command" -s V -l version -d 'Print version'
complete -c harnessctl -n "__fish_harnessctl_needs_command" -f -a "set-config" -d 'Set keys of the configuration'
complete -c harnessctl -n "__fish_harnessctl_needs_command" -f -a "get-config" -d 'Show each key with the value that holds and where it comes from'
complete -c harnessctl -n "__fish_harnessctl_needs_command" -f -a "status" -d 'Show what the daemon does, on one screen'
complete -c harnessctl -n "__fish_harnessctl_needs_command" -f -a "wait" -d 'Wait until this machine is a member of the mesh'
complete -c harnessctl -n "__fish_harnessctl_needs_command" -f -a "redirect" -d 'Look at the rules on this host'
complete -c harnessctl -n "__fish_harnessctl_needs_command" -f -a "completions" -d 'Print a completion script for a shell'
complete -c harnessctl -n "__fish_harnessctl_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l workload-group-name -d 'ExternalGroup that this machine joins [key WorkloadGroup.Name; required]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l workload-group-namespace -d 'Kubernetes namespace of the ExternalGroup [key WorkloadGroup.Namespace; required]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l workload-labels -d 'Labels that this machine asks for; the group must allow their keys, but for topology.kubernetes.io/zone [key Workload.Labels; default: none]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l control-plane-address -d 'Where autoregistration is reached [key Control.Address; required]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l control-plane-identity -d 'Name that autoregistration\'s certificate must carry [key Control.ServerId; required]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l identity-spire-socket-address -d 'Workload API socket of the SPIRE agent, a path or unix:///path [key Identity.SpireSocketAddress; default: /tmp/spire-agent/public/api.sock]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l identity-spiffe-id -d 'Which identity to use when SPIRE gives several [key Identity.SpiffeId; default: the first that SPIRE gives]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l identity-trust-anchors -d 'PEM file with the certificates that sign the control plane [key Identity.TrustAnchors; default: SPIRE\'s bundle]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l identity-backoff-min -d 'First wait before asking the SPIRE agent again [key Identity.Backoff.Min; default: 100ms]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l identity-backoff-max -d 'Longest wait before asking the SPIRE agent again [key Identity.Backoff.Max; default: 1s]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l identity-backoff-jitter -d 'Share of each wait that is random [key Identity.Backoff.Jitter; default: 0.1]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l proxy-path -d 'Linkerd\'s proxy, the program [key ProxyPath; default: /var/lib/linkerd/bin/linkerd2-proxy]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l proxy-user-id -d 'User of the proxy; what it sends is not redirected [key ProxyUserID; default: uid of the user proxyharness]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l inbound-listen-address -d 'Where the proxy takes inbound connections [key InboundListenAddress; default: 0.0.0.0:4143; with IPv6 [::]:4143]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l outbound-listen-addresses -d 'Where the proxy takes outbound connections, at most one address a family [key OutboundListenAddresses; default: 127.0.0.1:4140; with IPv6 127.0.0.1:4140,[::1]:4140]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l proxy-admin-address -d 'Where the proxy serves its metrics and readiness [key ProxyAdminAddress; default: 127.0.0.1:4191]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l proxy-log-level -d 'Log filter of the proxy [key ProxyLogLevel; default: warn,linkerd=info,hickory=error]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l shutdown-grace-period -d 'How long open connections may finish when the proxy stops, at most 5m [key ShutdownGracePeriod; default: 30s]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l advertise-addresses -d 'Addresses under which the mesh reaches this machine [key AdvertiseAddresses; default: that of the route to the control plane]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l ports-to-redirect -d 'Inbound ports that go through the proxy; none means all [key PortsToRedirect; default: none]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l inbound-ports-to-ignore -d 'Inbound ports that never go through the proxy; wins over PortsToRedirect [key InboundPortsToIgnore; default: 4567,4568]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l outbound-ports-to-ignore -d 'Outbound ports that never go through the proxy [key OutboundPortsToIgnore; default: 4567,4568]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l subnets-to-ignore -d 'Networks left alone: inbound by source, outbound by destination; wins over SubnetsToRedirect [key SubnetsToIgnore; default: none]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l subnets-to-redirect -d 'Outbound destinations that go through the proxy; none means all [key SubnetsToRedirect; default: none]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l ipv6 -d 'Redirect IPv6 too [key IPv6; default: false]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l iptables-mode -d 'Firewall backend; auto is the one that the host already uses [key IPTablesMode; default: auto]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l failure-policy -d 'While the proxy cannot serve: open lets traffic pass un-meshed, closed refuses new connections [key FailurePolicy; default: open]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l admin-address -d 'Where the harness serves /live, /ready, /metrics and /status [key AdminAddress; default: 127.0.0.1:4192]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l health-allow-exec-probes -d 'Whether the group\'s exec probes may run programs here; whoever edits the group then acts as the proxy\'s user [key Health.AllowExecProbes; default: false]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l dns-min-ttl -d 'Least time for which the proxy keeps a DNS answer [key Dns.MinTTL; default: 10s]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l dns-max-ttl -d 'Most time for which the proxy keeps a DNS answer [key Dns.MaxTTL; default: 10m]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l dns-resolv-conf-path -d 'Accepted for files of the commercial harness; the proxy reads /etc/resolv.conf only [key Dns.ResolvConfPath; default: /etc/resolv.conf]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l log-level -d 'Log filter of the harness, for example info,identity=debug [key LogLevel; default: info]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l log-format -d 'Log lines as text or as JSON [key LogFormat; default: plain]' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l config -d 'The configuration' -r -F
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -l output -d 'Form of the answer' -r -f -a "text\t''
json\t''"
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -s q -l quiet -d 'No remarks, only the answer and errors'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -s v -l verbose -d 'Say what is done'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand set-config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand get-config" -l config -d 'The configuration' -r -F
complete -c harnessctl -n "__fish_harnessctl_using_subcommand get-config" -l output -d 'Form of the answer' -r -f -a "text\t''
json\t''"
complete -c harnessctl -n "__fish_harnessctl_using_subcommand get-config" -s q -l quiet -d 'No remarks, only the answer and errors'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand get-config" -s v -l verbose -d 'Say what is done'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand get-config" -s h -l help -d 'Print help'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand status" -l config -d 'The configuration' -r -F
complete -c harnessctl -n "__fish_harnessctl_using_subcommand status" -l output -d 'Form of the answer' -r -f -a "text\t''
json\t''"
complete -c harnessctl -n "__fish_harnessctl_using_subcommand status" -s q -l quiet -d 'No remarks, only the answer and errors'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand status" -s v -l verbose -d 'Say what is done'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand status" -s h -l help -d 'Print help'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand wait" -l for -d 'What to wait for' -r -f -a "meshed\t''"
complete -c harnessctl -n "__fish_harnessctl_using_subcommand wait" -l timeout -d 'How long; 0 looks once' -r
complete -c harnessctl -n "__fish_harnessctl_using_subcommand wait" -l config -d 'The configuration' -r -F
complete -c harnessctl -n "__fish_harnessctl_using_subcommand wait" -l output -d 'Form of the answer' -r -f -a "text\t''
json\t''"
complete -c harnessctl -n "__fish_harnessctl_using_subcommand wait" -s q -l quiet -d 'No remarks, only the answer and errors'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand wait" -s v -l verbose -d 'Say what is done'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand wait" -s h -l help -d 'Print help'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and not __fish_seen_subcommand_from show diff help" -l config -d 'The configuration' -r -F
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and not __fish_seen_subcommand_from show diff help" -l output -d 'Form of the answer' -r -f -a "text\t''
json\t''"
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and not __fish_seen_subcommand_from show diff help" -s q -l quiet -d 'No remarks, only the answer and errors'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and not __fish_seen_subcommand_from show diff help" -s v -l verbose -d 'Say what is done'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and not __fish_seen_subcommand_from show diff help" -s h -l help -d 'Print help'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and not __fish_seen_subcommand_from show diff help" -f -a "show" -d 'Show the rules as they are, or would be, applied, and what is never redirected and why'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and not __fish_seen_subcommand_from show diff help" -f -a "diff" -d 'Compare the rules on this host with those that are wanted'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and not __fish_seen_subcommand_from show diff help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and __fish_seen_subcommand_from show" -l backend -d 'For which packet filter; auto is the one that is used' -r -f -a "auto\t''
nft\t''
legacy\t''
nftables\t''"
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and __fish_seen_subcommand_from show" -l config -d 'The configuration' -r -F
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and __fish_seen_subcommand_from show" -l output -d 'Form of the answer' -r -f -a "text\t''
json\t''"
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and __fish_seen_subcommand_from show" -s q -l quiet -d 'No remarks, only the answer and errors'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Say what is done'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and __fish_seen_subcommand_from diff" -l config -d 'The configuration' -r -F
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and __fish_seen_subcommand_from diff" -l output -d 'Form of the answer' -r -f -a "text\t''
json\t''"
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and __fish_seen_subcommand_from diff" -s q -l quiet -d 'No remarks, only the answer and errors'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and __fish_seen_subcommand_from diff" -s v -l verbose -d 'Say what is done'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and __fish_seen_subcommand_from diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show the rules as they are, or would be, applied, and what is never redirected and why'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and __fish_seen_subcommand_from help" -f -a "diff" -d 'Compare the rules on this host with those that are wanted'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand redirect; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand completions" -l config -d 'The configuration' -r -F
complete -c harnessctl -n "__fish_harnessctl_using_subcommand completions" -l output -d 'Form of the answer' -r -f -a "text\t''
json\t''"
complete -c harnessctl -n "__fish_harnessctl_using_subcommand completions" -s q -l quiet -d 'No remarks, only the answer and errors'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand completions" -s v -l verbose -d 'Say what is done'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand completions" -s h -l help -d 'Print help'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand help; and not __fish_seen_subcommand_from set-config get-config status wait redirect completions help" -f -a "set-config" -d 'Set keys of the configuration'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand help; and not __fish_seen_subcommand_from set-config get-config status wait redirect completions help" -f -a "get-config" -d 'Show each key with the value that holds and where it comes from'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand help; and not __fish_seen_subcommand_from set-config get-config status wait redirect completions help" -f -a "status" -d 'Show what the daemon does, on one screen'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand help; and not __fish_seen_subcommand_from set-config get-config status wait redirect completions help" -f -a "wait" -d 'Wait until this machine is a member of the mesh'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand help; and not __fish_seen_subcommand_from set-config get-config status wait redirect completions help" -f -a "redirect" -d 'Look at the rules on this host'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand help; and not __fish_seen_subcommand_from set-config get-config status wait redirect completions help" -f -a "completions" -d 'Print a completion script for a shell'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand help; and not __fish_seen_subcommand_from set-config get-config status wait redirect completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand help; and __fish_seen_subcommand_from redirect" -f -a "show" -d 'Show the rules as they are, or would be, applied, and what is never redirected and why'
complete -c harnessctl -n "__fish_harnessctl_using_subcommand help; and __fish_seen_subcommand_from redirect" -f -a "diff" -d 'Compare the rules on this host with those that are wanted'
