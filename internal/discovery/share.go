package discovery

import (
	"maps"
	"net"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

const (
	// podAddress stands in an address for the pod's own, which its group has. No address begins so: it is not UTF-8.
	podAddress = "\xff"
	// maxShared bounds a pool; where labels are of one pod each, such as container ids, sharing is of no use.
	maxShared = 4096
)

// sharer lets targets of different pods share their labels. Replicas differ in nothing but the address, and five maps
// a pod are most of what a pod costs.
type sharer struct {
	ipLabel model.LabelName
	known   map[model.Fingerprint]model.LabelSet
}

func newSharer() *sharer {
	return &sharer{ipLabel: podPrefix + "ip", known: map[model.Fingerprint]model.LabelSet{}}
}

// share replaces the labels of the targets of g, which is the caller's own, by shared ones: see Own.
func (s *sharer) share(g *targetgroup.Group) {
	ip := string(g.Labels[s.ipLabel])
	for i, own := range g.Targets {
		_, port, err := net.SplitHostPort(string(own[model.AddressLabel]))
		if err != nil {
			port = ""
		}
		if string(own[model.AddressLabel]) != joinPort(ip, port) {
			continue
		}
		own[model.AddressLabel] = model.LabelValue(podAddress + port)
		print := own.Fingerprint()
		if known, ok := s.known[print]; ok && known.Equal(own) {
			g.Targets[i] = known
			continue
		}
		if len(s.known) >= maxShared {
			clear(s.known)
		}
		s.known[print] = own
	}
}

// joinPort is the address that Prometheus' discovery makes; without a port, the pod's own.
func joinPort(ip, port string) string {
	if port == "" {
		return ip
	}
	return net.JoinHostPort(ip, port)
}

// Own returns a target's own labels as its discovery found them. Targets of a group that Manager hands over may share
// them with those of other pods, but for the address; such labels are completed in scratch, which is cleared.
func Own(own, group, scratch model.LabelSet) model.LabelSet {
	port, ok := strings.CutPrefix(string(own[model.AddressLabel]), podAddress)
	if !ok {
		return own
	}
	clear(scratch)
	maps.Copy(scratch, own)
	scratch[model.AddressLabel] = model.LabelValue(joinPort(string(group[podPrefix+"ip"]), port))
	return scratch
}
