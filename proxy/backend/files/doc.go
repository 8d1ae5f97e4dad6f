// Package files is the backend without a cluster: a folder of the same manifests. It does
// what the API server and the operator do there, with the same schemas and the same pure
// functions: it validates, accepts grants, counts their time, mints credentials and takes
// them away.
//
//	DIR/*.yaml, *.yml      manifests; editing one is kubectl apply, removing one kubectl delete
//	DIR/.credentials/GRANT one file for each key of the Secret that the operator would write
//	DIR/.approvals         ApprovalRequests; an approval is given by editing the file's status
//	DIR/.sessions          Sessions
//	DIR/.recordings        recordings
//	DIR/.state, DIR/.tls   what must survive a restart: identities, and the authority's key
//
// Whoever may write the folder is its administrator. A manifest that is wrong keeps the
// proxy from starting; one that becomes wrong while it runs shuts what it governs. A folder
// that cannot be read proves nothing, and the gate then takes no new sessions.
package files
