package discovery

import (
	"reflect"
	"strconv"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

func portGroup(ip string, addresses ...string) *targetgroup.Group {
	g := &targetgroup.Group{Source: ip, Labels: model.LabelSet{podPrefix + "ip": model.LabelValue(ip)}}
	for i, a := range addresses {
		g.Targets = append(g.Targets, model.LabelSet{model.AddressLabel: model.LabelValue(a),
			"n": model.LabelValue(strconv.Itoa(i))})
	}
	return g
}

func TestReplicasShareLabels(t *testing.T) {
	s := newSharer()
	groups := []*targetgroup.Group{
		portGroup("10.0.0.1", "10.0.0.1:80", "10.0.0.1", "elsewhere:80"),
		portGroup("10.0.0.2", "10.0.0.2:80", "10.0.0.2", "elsewhere:80"),
		portGroup("fd00::1", "[fd00::1]:80", "fd00::1", "elsewhere:80"),
	}
	for _, g := range groups {
		s.share(g)
	}
	at := func(g, target int) uintptr { return reflect.ValueOf(groups[g].Targets[target]).Pointer() }
	for target, shared := range []bool{true, true, false} {
		if (at(0, target) == at(1, target)) != shared || (at(0, target) == at(2, target)) != shared {
			t.Errorf("target %d shared, want %v: %v", target, shared, groups)
		}
	}
	for i, want := range []*targetgroup.Group{
		portGroup("10.0.0.1", "10.0.0.1:80", "10.0.0.1", "elsewhere:80"),
		portGroup("10.0.0.2", "10.0.0.2:80", "10.0.0.2", "elsewhere:80"),
		portGroup("fd00::1", "[fd00::1]:80", "fd00::1", "elsewhere:80"),
	} {
		for n, own := range groups[i].Targets {
			if got := Own(own, groups[i].Labels, model.LabelSet{"left": "over"}); !got.Equal(want.Targets[n]) {
				t.Errorf("got %v, want %v", got, want.Targets[n])
			}
		}
	}
}

func TestSharedLabelSetsAreLimited(t *testing.T) {
	s := newSharer()
	for port := range 3 * maxShared {
		s.share(portGroup("10.0.0.1", "10.0.0.1:"+strconv.Itoa(port)))
	}
	if n := len(s.known); n > maxShared {
		t.Errorf("%d label sets kept, want at most %d", n, maxShared)
	}
}
