package discovery

import (
	"fmt"
	"reflect"
	"slices"

	promconfig "github.com/prometheus/prometheus/config"
	promdiscovery "github.com/prometheus/prometheus/discovery"
)

// Plan holds the jobs, discoveries and servers of a configuration: running ones that are reused, and new ones.
type Plan struct {
	m         *Manager
	reads     []jobReads
	jobs      []jobDiscovery
	providers []*provider
	servers   []*server
	errs      []error
}

// add adds one job to the plan.
func (p *Plan) add(job *promconfig.ScrapeConfig) {
	j := jobDiscovery{name: job.JobName}
	for _, c := range job.ServiceDiscoveryConfigs {
		prov, err := p.provider(job.JobName, c)
		if err != nil {
			p.errs = append(p.errs, fmt.Errorf("job %q: %s discovery: %w", job.JobName, c.Name(), err))
			continue
		}
		if !slices.Contains(j.providers, prov) {
			j.providers = append(j.providers, prov)
		}
	}
	p.jobs = append(p.jobs, j)
}

// provider returns the discovery that c describes: a running one if possible, else a new one.
func (p *Plan) provider(job string, c promdiscovery.Config) (*provider, error) {
	r := readsFor(p.reads, c)
	for _, prov := range p.providers {
		if prov.serves(c, r) {
			return prov, nil
		}
	}
	p.m.nextID++
	prov, err := p.m.newProvider(p.m.nextID, job, c, r)
	if err != nil {
		return nil, err
	}
	if prov.server, err = p.server(c); err != nil {
		return nil, err
	}
	p.providers = append(p.providers, prov)
	return prov, nil
}

// jobReads holds the labels that the rules of all jobs of one pod discovery read.
type jobReads struct {
	config promdiscovery.Config
	reads  *reads
}

// readsOf returns, for each pod discovery that can be trimmed, the labels that the jobs' rules read, and those of the
// pods' controllers if they are kept.
func (m *Manager) readsOf(jobs []*promconfig.ScrapeConfig) []jobReads {
	var all []jobReads
	if m.wholePods {
		return nil
	}
	for _, job := range jobs {
		for _, c := range job.ServiceDiscoveryConfigs {
			if _, ok := trimmable(c); !ok {
				continue
			}
			r := readsFor(all, c)
			if r == nil {
				r = newReads()
				all = append(all, jobReads{c, r})
			}
			r.add(job.RelabelConfigs)
			if m.keepsOwners != nil && m.keepsOwners(job.JobName) {
				r.addOwner()
			}
		}
	}
	return all
}

// readsFor returns the labels that rules read of a discovery. Nil means all labels.
func readsFor(all []jobReads, c promdiscovery.Config) *reads {
	for _, j := range all {
		if reflect.DeepEqual(j.config, c) {
			return j.reads
		}
	}
	return nil
}
