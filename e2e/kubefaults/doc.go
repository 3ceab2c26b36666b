// Package kubefaults runs envoy-scraper against a real kube-apiserver. A proxy between the two makes the API server
// fail in every relevant way: down, slow, ended watches, expired versions, changed certificates and tokens, missing
// rights. The scenarios are the rows K1 to K9 of docs/reliability.md. They prove that known targets are still scraped
// exactly once per interval during a fault, and that changes are seen when it is over.
//
// To run it alone:
//
//	cd e2e && go test -count=1 -v ./kubefaults
package kubefaults
