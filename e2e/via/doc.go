// Package via reads pods through a real kube-apiserver, as one does from a laptop with only a kubeconfig. The API
// server refuses to connect to a loopback address, so the sidecars of this test listen on addresses of a network
// interface that the test makes and removes. That needs root, or CAP_NET_ADMIN; without it the test is skipped.
//
// To run it alone:
//
//	cd e2e && go test -count=1 -v ./via
package via
