package chart

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestRendered checks fields that decide how a mode behaves, and that values appear in the right form.
func TestRendered(t *testing.T) {
	tl := newTools(t, false)
	for _, c := range []struct {
		name     string
		has, not []string
	}{
		{"daemonset", []string{
			"enable_compression: false", "fieldPath: spec.nodeName", "operator: Exists", "maxUnavailable: 10%",
			"sizeLimit: 1536Mi", "--storage.ephemeral",
		}, []string{"--shard", "kind: Service\n", "kind: PrometheusRule", "dashboard", "max_delay"}},
		{"economical", []string{"      max_delay: 30s\n"}, []string{"batch_send_deadline"}},
		{"delay", []string{"      max_delay: 1m\n"}, []string{"max_delay: 30s"}},
		{"job-settings", []string{"push_down: false", "pace: fixed", "shard_by: workload"}, nil},
		{"aggregate", []string{
			"instance: '%{NODE_NAME}'\n        jobs:\n        - envoy-stats\n        match: istio_.*\n",
			"- pod_name\n"}, []string{"%{POD_NAME}'", "source_app"}},
		{"aggregate-lean", []string{"instance: '%{POD_NAME}'\n          summed: \"yes\"\n        idle: 1h\n",
			"- source_app\n", "by:\n        - job\n        - cluster_name\n", "instance: gateways-%{POD_NAME}\n",
			"fieldPath: metadata.name"}, []string{"NODE_NAME"}},
		{"aggregate-deployment", []string{"instance: '%{POD_NAME}'\n        by:\n        - job\n        - " +
			"destination_workload\n        jobs:\n        - mesh\n", "fieldPath: metadata.name"},
			[]string{"NODE_NAME", "without:"}},
		{"deployment", []string{"replicas: 1", "type: Recreate", "name: POD_NAME\n"},
			[]string{"NODE_NAME", "enable_compression", "tolerations", "--shard"}},
		{"statefulset", []string{
			"replicas: 5", "podManagementPolicy: Parallel", "--shard.index=ordinal", "fieldPath: metadata.name",
			"- count: 3\n", "from: \"2026-01-31T12:00:00Z\"",
		}, []string{"NODE_NAME", "--shard.count", "checksum"}},
		{"whole", []string{"replicas: 2"}, []string{"envoy-stats"}},
		{"whole-deployment", []string{"name: POD_NAME\n", "%{POD_NAME}"}, []string{"NODE_NAME"}},
		{"own-variable", []string{"name: POD_NAME\n", "value: mine"}, []string{"fieldPath: metadata.name"}},
		{"statefulset-claim", []string{"volumeClaimTemplates:", "storageClassName: fast"},
			[]string{"--storage.ephemeral", "flush-deadline=", "kind: PersistentVolumeClaim"}},
		{"daemonset-claim", []string{"subPathExpr: $(NODE_NAME)", "kind: PersistentVolumeClaim"},
			[]string{"--storage.ephemeral"}},
		{"deployment-claim", []string{"claimName: kept"}, []string{"kind: PersistentVolumeClaim\n"}},
		{"daemonset-hostpath", []string{"chown", "add: [CHOWN]"}, []string{"--storage.ephemeral"}},
		{"receivers", []string{
			"credentials_file: /run/secrets/envoy-scraper/write-token/token", "secretName: write-token",
			"sizeLimit: 6144Mi", "max_samples_per_send: 1000000\n",
		}, nil},
		{"pasted", []string{"regex: '.*-envoy-prom' # kept as it was written",
			`scrape_config_files: ["extra-jobs.yml","additional-scrape-configs.yml"]`}, nil},
		{"static", []string{"automountServiceAccountToken: false"},
			[]string{"kind: ClusterRole", "kind: Role", "automountServiceAccountToken: true"}},
		{"numbers", []string{"metrics_path: /stats?usedonly", "sidecar.istio.io/inject: \"true\"",
			"prometheus.io/port: \"1\"", "helm.sh/chart: \"1\""}, nil},
		{"sizes", []string{"sizeLimit: 2147483648\n"}, nil},
		{"everything", []string{"image: registry.example/envoy-scraper@sha256:0123", "serviceAccountName: scraper",
			"--self-scrape"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := tl.render(t, c.name, c.name, "-f", valuesFiles(t, "good")[c.name])
			for _, want := range c.has {
				if !strings.Contains(r.text, want) {
					t.Errorf("%q is missing in\n%s", want, r.text)
				}
			}
			for _, not := range c.not {
				if strings.Contains(r.text, not) {
					t.Errorf("%q must not be in\n%s", not, r.text)
				}
			}
		})
	}
}

// TestNetworkPolicy checks that the pods may connect to sidecars, receivers, the API server and DNS, and to nothing
// else.
func TestNetworkPolicy(t *testing.T) {
	tl := newTools(t, false)
	for name, want := range map[string][]string{
		"receivers": {"15090 to pods", "9090 443 8443 to all", "443 6443 to all", "53 53 to all"},
		// no job uses the API server
		"static": {"15090 to pods", "9090 to all", "53 53 to all"},
		// ports of a proxy and an OAuth2 server too
		"numbers":    {"15090 to pods", "3128 9090 8443 443 to all", "443 6443 to all", "53 53 to all"},
		"no-ports":   {"9090 to all", "53 53 to all"},
		"everything": {"15090 15020 to pods", "9090 to pods", "443 6443 to 10.0.0.1/32", "53 53 to all", "3128 to all"},
	} {
		t.Run(name, func(t *testing.T) {
			r := tl.render(t, name, name, "-f", valuesFiles(t, "good")[name])
			var policy networkingv1.NetworkPolicy
			if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(
				r.find("NetworkPolicy").Object, &policy, true); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, rule := range policy.Spec.Egress {
				got = append(got, describe(rule))
			}
			if !slices.Equal(got, want) {
				t.Errorf("egress %q, want %q", got, want)
			}
			if in := policy.Spec.Ingress; len(in) != 1 || len(in[0].Ports) != 1 ||
				in[0].Ports[0].Port.String() != "http" {
				t.Errorf("ingress %v, want only the web port", in)
			}
		})
	}
}

func describe(rule networkingv1.NetworkPolicyEgressRule) string {
	var words []string
	for _, p := range rule.Ports {
		words = append(words, p.Port.String())
	}
	to := "all"
	for _, peer := range rule.To {
		to = "pods"
		if peer.IPBlock != nil {
			to = peer.IPBlock.CIDR
		}
	}
	return fmt.Sprintf("%s to %s", strings.Join(words, " "), to)
}
