package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/engine/postgres"
)

// peers says how to find the other replicas; nil if there are none.
func peers(o *options, namespace string) (*postgres.Peers, error) {
	if o.peers == "" || o.postgresPort == 0 {
		return nil, nil
	}
	own, err := ownAddress(o.podIP)
	if err != nil {
		return nil, err
	}
	port := uint16(o.postgresPort) //nolint:gosec // checked when the flags were read
	return &postgres.Peers{
		Self:       netip.AddrPortFrom(own, port),
		ServerName: v1alpha1.ProxyName + "." + namespace + ".svc",
		Dial:       (&net.Dialer{Timeout: dialTimeout}).DialContext,
		Find: func(ctx context.Context) ([]netip.AddrPort, error) {
			found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", o.peers)
			if err != nil {
				return nil, fmt.Errorf("find the replicas: %w", err)
			}
			all := make([]netip.AddrPort, 0, len(found))
			for _, a := range found {
				all = append(all, netip.AddrPortFrom(a.Unmap(), port))
			}
			return all, nil
		},
	}, nil
}

// ownAddress is where other replicas find this one: as it was given, or the address of the
// first interface that others can reach.
func ownAddress(given string) (netip.Addr, error) {
	if given != "" {
		a, err := netip.ParseAddr(given)
		if err != nil {
			return a, fmt.Errorf("read --pod-ip: %w", err)
		}
		return a.Unmap(), nil
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find an address for this proxy: %w; set --pod-ip", err)
	}
	for _, i := range all {
		if n, ok := i.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			if a, ok := netip.AddrFromSlice(n.IP); ok {
				return a.Unmap(), nil
			}
		}
	}
	return netip.Addr{}, errors.New("there is no address by which other replicas find this proxy; set --pod-ip")
}
