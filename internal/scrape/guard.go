package scrape

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Whoever may create a pod chooses the addresses that a job of pods dials. The guard stands behind name
// resolution, at the moment of dialling, so that no name and no redirect leads around it.

// forbidden tells why an address is never dialled; empty: it may be.
func forbidden(ip netip.Addr, allowLoopback bool) string {
	ip = ip.Unmap()
	switch {
	case ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast():
		return "link-local addresses (cloud metadata) are never scraped"
	case ip.IsMulticast():
		return "multicast addresses are never scraped"
	case ip == netip.AddrFrom16([16]byte{0xfd, 0x00, 0x0e, 0xc2, 14: 0x02, 15: 0x54}):
		return "the cloud metadata address is never scraped"
	case (ip.IsLoopback() || ip.IsUnspecified()) && !allowLoopback:
		return "a discovered loopback address is not scraped unless --scrape.allow-loopback is given or a static list names it"
	}
	return ""
}

// guardedDial is the dialler of a job's client.
func guardedDial(allowLoopback bool) dialFunc {
	d := net.Dialer{
		KeepAlive: 30 * time.Second,
		Control: func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			if why := forbidden(ap.Addr(), allowLoopback); why != "" {
				return fmt.Errorf("refused to dial %s: %s", address, why)
			}
			return nil
		},
	}
	return d.DialContext
}
