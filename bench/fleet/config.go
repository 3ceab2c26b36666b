package fleet

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Config says what mesh to simulate.
type Config struct {
	Targets  int     // sidecars
	Series   int     // of each
	Replicas int     // how many sidecars in a row are of one workload; 1: no two share a series
	Moving   float64 // share of the values that change at each scrape
	Churn    float64 // share of the series that are replaced at each scrape

	Page Page // how pages differ from those of today's Envoy

	// Base is the first sidecar's address; the others follow on it. With
	// OneAddress the others have its address and the ports that follow, for
	// systems where only 127.0.0.1 is up.
	Base       netip.AddrPort
	OneAddress bool
}

// Page says how a page is laid out and sent otherwise than by today's Envoy; the zero value is today's.
type Page struct {
	Shuffle    bool // within each family another order at every scrape, as a hash map gives it (ztunnel)
	Ungrouped  bool // families neither grouped nor sorted, as Envoy before 1.14 printed them
	BlankLines bool // after each family, as Envoy before 1.24 printed them
	Timestamps bool // each sample has a timestamp of its own: the time of the scrape
	Distinct   bool // each sample has a label of its own. No Envoy prints that: it is the most that a page may cost
	Gzip       bool // compressed for clients that accept it; costs the fleet more than all the rest
}

// String lists what is set.
func (p Page) String() string {
	var set []string
	for _, f := range []struct {
		on   bool
		name string
	}{
		{p.Shuffle, "in another order at each scrape"}, {p.Ungrouped, "families ungrouped"},
		{p.BlankLines, "blank lines"},
		{p.Timestamps, "own timestamps"}, {p.Distinct, "a label of its own on each line"}, {p.Gzip, "gzip"},
	} {
		if f.on {
			set = append(set, f.name)
		}
	}
	return strings.Join(set, ", ")
}

// DefaultConfig is the fleet S: 200 sidecars of 2,000 series, ten replicas a workload.
func DefaultConfig() Config {
	return Config{
		Targets: 200, Series: 2000, Replicas: 10, Moving: 0.2,
		Base: netip.MustParseAddrPort("127.1.0.1:15090"),
	}
}

// Validate reports every problem at once.
func (c Config) Validate() error {
	var errs []error
	if c.Targets < 1 || c.Targets > 20_000 {
		errs = append(errs, fmt.Errorf("targets: %d is not within 1 and 20000", c.Targets))
	}
	if c.Series < 1 || c.Series > 200_000 {
		errs = append(errs, fmt.Errorf("series: %d is not within 1 and 200000", c.Series))
	}
	if c.Replicas < 1 {
		errs = append(errs, fmt.Errorf("replicas: %d is less than 1", c.Replicas))
	}
	if c.Moving < 0 || c.Moving > 1 {
		errs = append(errs, fmt.Errorf("moving: %v is not a share", c.Moving))
	}
	if c.Churn < 0 || c.Churn > 1 {
		errs = append(errs, fmt.Errorf("churn: %v is not a share", c.Churn))
	}
	if c.Page.Ungrouped && (c.Page.Shuffle || c.Page.BlankLines) {
		errs = append(errs, errors.New("ungrouped: excludes shuffle and blank-lines, which are about families"))
	}
	if !c.Base.IsValid() || !c.Base.Addr().IsLoopback() {
		errs = append(errs, fmt.Errorf("base: %v is not a loopback address and port", c.Base))
	} else if !c.at(c.Targets - 1).Addr().IsLoopback() {
		errs = append(errs, fmt.Errorf("base: %v has no %d loopback addresses after it", c.Base, c.Targets))
	}
	return errors.Join(errs...)
}

// at is the address of the n-th sidecar. Last bytes 0 and 255 are left out.
func (c Config) at(n int) netip.AddrPort {
	if c.OneAddress {
		return netip.AddrPortFrom(c.Base.Addr(), c.Base.Port()+uint16(n))
	}
	b := c.Base.Addr().As4()
	last := int(b[3]) - 1 + n
	block := int(b[1])<<16 | int(b[2])<<8 // the carry may reach the second byte, never the first
	block += last / 254 << 8
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{b[0], byte(block >> 16), byte(block >> 8), byte(last%254) + 1}),
		c.Base.Port())
}

// Beside returns the n-th of several fleets that run at the same time: their addresses differ. The first is c itself.
func (c Config) Beside(n int) Config {
	if c.OneAddress {
		c.Base = netip.AddrPortFrom(c.Base.Addr(), c.Base.Port()+uint16(n*c.Targets))
		return c
	}
	b := c.Base.Addr().As4()
	b[1] += byte(n * 64) // 16,000 /24 networks, more than a fleet may have
	c.Base = netip.AddrPortFrom(netip.AddrFrom4(b), c.Base.Port())
	return c
}

// Target is a sidecar as service discovery would describe it.
type Target struct {
	Address   netip.AddrPort
	Namespace string
	Pod       string
}

// TargetList lists the sidecars.
func (c Config) TargetList() []Target {
	out := make([]Target, c.Targets)
	for n := range out {
		workload := n / c.Replicas
		s := serviceAt(c.firstService(workload))
		out[n] = Target{
			Address:   c.at(n),
			Namespace: s.namespace,
			Pod:       fmt.Sprintf("%s-v1-7d9f8b6c5-%s", s.name, string(appendTag(nil, uint32(n)))),
		}
	}
	return out
}

// firstService returns the service of a workload. The services that it calls come after
// it. Every workload has numbers of its own, so texts are shared by the
// replicas of a workload and by nobody else.
func (c Config) firstService(workload int) int { return workload * (c.Series/60 + 40) }
