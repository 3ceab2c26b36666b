package discovery

import (
	"maps"
	"net"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

const (
	// podAddress stands for the pod's IP in a shared address: "\xff15090" for 10.1.2.3:15090. The group has the IP. No
	// real address begins with \xff, which is not UTF-8.
	podAddress = "\xff"
	// maxShared limits the pool of shared label sets. Labels that differ for each pod, such as container ids, fill it
	// without a gain.
	maxShared = 4096
)

// sharer lets targets of different pods share their label sets. The targets of replicas differ only in the address, and
// five maps per pod are most of the memory of a pod.
type sharer struct {
	ipLabel model.LabelName
	known   map[model.Fingerprint]model.LabelSet
}

func newSharer() *sharer {
	return &sharer{ipLabel: podPrefix + "ip", known: map[model.Fingerprint]model.LabelSet{}}
}

// share replaces the label sets of the targets of g by shared ones. Own undoes this for one target. g must not be in
// use elsewhere.
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

// joinPort returns the address as Prometheus' discovery builds it: the IP alone if there is no port.
func joinPort(ip, port string) string {
	if port == "" {
		return ip
	}
	return net.JoinHostPort(ip, port)
}

// Own returns the labels of a target, without those of its group, as its discovery found them. The targets of a group
// may share label sets that lack the address. Own copies such a set into scratch, which it clears first, and adds the
// address.
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
