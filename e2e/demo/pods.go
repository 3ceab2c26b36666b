package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"regexp"
	"strconv"

	"github.com/envoy-scraper/envoy-scraper/e2e/mesh"
)

// group is one entry of a file_sd file.
type group struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// container is one container of a pod, with at most one port.
type container struct {
	name, image string
	isInit      bool
	portName    string
	port        uint16 // 0: no declared port
	id          string
}

const meta = "__meta_kubernetes_"

// writePods writes the targets that pod discovery would return: one per container and port, including those that the
// job's rules drop.
func writePods(file string, sidecars []mesh.Sidecar) error {
	var groups []group
	for _, s := range sidecars {
		groups = append(groups, discovered(s)...)
	}
	list, err := json.MarshalIndent(groups, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, list, 0o600)
}

// discovered returns the targets of one pod as Prometheus' pod discovery would.
func discovered(s mesh.Sidecar) []group {
	var groups []group
	for _, c := range containers(s) {
		l := podLabels(s)
		l[meta+"pod_container_name"] = c.name
		l[meta+"pod_container_id"] = c.id
		l[meta+"pod_container_image"] = c.image
		l[meta+"pod_container_init"] = strconv.FormatBool(c.isInit)
		address := s.Addr.Addr().String()
		if c.port != 0 {
			address = netip.AddrPortFrom(s.Addr.Addr(), c.port).String()
			l[meta+"pod_container_port_name"] = c.portName
			l[meta+"pod_container_port_number"] = strconv.Itoa(int(c.port))
			l[meta+"pod_container_port_protocol"] = "TCP"
		}
		groups = append(groups, group{Targets: []string{address}, Labels: l})
	}
	return groups
}

// containers returns the pod's containers in the order of pod discovery: first the regular ones, then the init
// containers.
func containers(s mesh.Sidecar) []container {
	proxy := container{
		name: "istio-proxy", image: "docker.io/istio/proxyv2:1.27.3", isInit: s.Native,
		portName: "http-envoy-prom", port: s.Addr.Port(), id: "containerd://" + s.UID + "-proxy",
	}
	if s.App == "" {
		return []container{proxy}
	}
	app := container{
		name: s.App, image: "docker.io/istio/examples-bookinfo-" + s.Workload + ":1.20.3",
		port: s.AppPort, id: "containerd://" + s.UID + "-app",
	}
	setup := container{name: "istio-init", image: proxy.image, isInit: true, id: "containerd://" + s.UID + "-init"}
	if s.Native {
		return []container{app, setup, proxy}
	}
	return []container{app, proxy, setup}
}

// podLabels returns the labels that all targets of the pod share.
func podLabels(s mesh.Sidecar) map[string]string {
	l := map[string]string{
		meta + "namespace":           s.Namespace,
		meta + "pod_name":            s.Pod,
		meta + "pod_ip":              s.Addr.Addr().String(),
		meta + "pod_host_ip":         "127.0.0.1",
		meta + "pod_ready":           "true",
		meta + "pod_phase":           "Running",
		meta + "pod_node_name":       s.Node,
		meta + "pod_uid":             s.UID,
		meta + "pod_controller_kind": "ReplicaSet",
		meta + "pod_controller_name": s.ReplicaSet,
	}
	notInName := regexp.MustCompile(`[^a-zA-Z0-9_]`)
	add := func(kind string, values map[string]string) {
		for name, value := range values {
			name = notInName.ReplaceAllString(name, "_")
			l[meta+"pod_"+kind+"_"+name] = value
			l[meta+"pod_"+kind+"present_"+name] = "true"
		}
	}
	add("label", s.Labels)
	add("annotation", s.Annotations)
	return l
}
