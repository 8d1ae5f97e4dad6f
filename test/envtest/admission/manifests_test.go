package admission

import "github.com/cardea-dev/cardea/test/envtest/api/apiserver"

// The objects that the tests start from.
const (
	grant          = apiserver.Grant
	target         = apiserver.Target
	request        = apiserver.ApprovalRequest
	session        = apiserver.Session
	recording      = apiserver.Recording
	configMap      = apiserver.ConfigMap
	secret         = apiserver.Secret
	maskingRule    = apiserver.MaskingRule
	commandRule    = apiserver.CommandRule
	accessPolicy   = apiserver.AccessPolicy
	recordingStore = apiserver.RecordingStore
)
