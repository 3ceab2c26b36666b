package via

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
)

// lifetime is how many seconds the kernel keeps the addresses at most.
const lifetime = 3600

// addAddresses adds n addresses that are not loopback to this machine, until the test ends. They are on an interface of
// their own, or on lo if the kernel has no dummy interfaces.
func addAddresses(t *testing.T, n int) ([]string, error) {
	t.Helper()
	name := fmt.Sprintf("esvia%d", os.Getpid()) // at most 15 letters
	var link netlink.Link = &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: name}}
	if err := netlink.LinkAdd(link); err == nil {
		t.Cleanup(func() {
			if err := netlink.LinkDel(link); err != nil {
				t.Errorf("remove interface %s: %v", name, err)
			}
		})
		if err := netlink.LinkSetUp(link); err != nil {
			return nil, fmt.Errorf("interface %s: %w", name, err)
		}
	} else {
		lo, loErr := netlink.LinkByName("lo")
		if loErr != nil {
			return nil, errors.Join(fmt.Errorf("add interface %s: %w", name, err), loErr)
		}
		t.Logf("no dummy interface (%v): the addresses are on lo", err)
		link = lo
	}
	var all []string
	for i := range n {
		ip := fmt.Sprintf("10.250.%d.%d", os.Getpid()%250, i+1)
		address, err := netlink.ParseAddr(ip + "/32")
		if err != nil {
			return nil, err
		}
		address.ValidLft, address.PreferedLft = lifetime, lifetime // a test that is killed removes nothing
		if err := netlink.AddrAdd(link, address); err != nil {
			return nil, fmt.Errorf("add address %s to %s: %w", ip, link.Attrs().Name, err)
		}
		if link.Attrs().Name == "lo" {
			t.Cleanup(func() {
				if err := netlink.AddrDel(link, address); err != nil {
					t.Errorf("remove address %s: %v", ip, err)
				}
			})
		}
		all = append(all, ip)
	}
	return all, nil
}
