package config

import "testing"

// TestWrittenCompression: what a job writes wins over the place of a target, and the default of Prometheus does not.
func TestWrittenCompression(t *testing.T) {
	cfg := load(t, Options{Check: true}, `
scrape_configs:
- &job {job_name: nothing, static_configs: [{targets: ['a:1']}]}
- {<<: *job, job_name: empty, enable_compression: }
- &compressed {<<: *job, job_name: on, enable_compression: true}
- {<<: *job, job_name: off, enable_compression: false}
- {<<: *compressed, job_name: merged}
`)
	for _, job := range cfg.Jobs {
		if got := cfg.EncodingByPlace(job.JobName); got != (job.JobName == "nothing") {
			t.Errorf("EncodingByPlace(%s) = %v", job.JobName, got)
		}
		if job.EnableCompression != (job.JobName != "off" && job.JobName != "empty") {
			t.Errorf("job %s: enable_compression %v", job.JobName, job.EnableCompression)
		}
	}
}

// TestOnNode: only a job whose discovery asks for the pods of this node has all its pods there.
func TestOnNode(t *testing.T) {
	const text = `
scrape_configs:
- job_name: pods
  kubernetes_sd_configs: [{role: pod}, {role: pod, selectors: [{role: pod, label: app=a}]}]
- job_name: another-node
  kubernetes_sd_configs: [{role: pod, selectors: [{role: pod, field: spec.nodeName=n2}]}]
- job_name: everywhere
  kubernetes_sd_configs: [{role: pod}]
- job_name: services
  kubernetes_sd_configs: [{role: endpointslice}]
envoy_scraper: {cluster_wide_jobs: [everywhere, services]}
`
	for node, want := range map[string]map[string]bool{"": {}, "n1": {"pods": true}} {
		cfg := load(t, Options{Check: true, NodeName: node}, text)
		for _, job := range cfg.Jobs {
			if got := cfg.OnNode(job.JobName); got != want[job.JobName] {
				t.Errorf("node %q: OnNode(%s) = %v, want %v", node, job.JobName, got, want[job.JobName])
			}
		}
	}
	cfg := load(t, Options{RemoteWriteURL: "http://r:9090/api/v1/write", NodeName: "n1"}, "")
	if !cfg.OnNode(builtinJob) || !cfg.EncodingByPlace(builtinJob) {
		t.Error("the built-in job is not on the node")
	}
}
