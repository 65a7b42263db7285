"""The event types that providers publish, as their documents list them: what ``events`` of a route may name.

Only of providers whose list is published as a whole; of the others nothing is said. What is missing here is warned of,
never refused: a provider adds to its list whenever it likes.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: https://docs.github.com/en/webhooks/webhook-events-and-payloads
GITHUB = _words(
    """
    branch_protection_configuration branch_protection_rule check_run check_suite code_scanning_alert commit_comment
    create custom_property custom_property_values delete dependabot_alert deploy_key deployment
    deployment_protection_rule deployment_review deployment_status discussion discussion_comment fork
    github_app_authorization gollum installation installation_repositories installation_target issue_comment
    issue_dependencies issues label marketplace_purchase member membership merge_group meta milestone org_block
    organization package page_build personal_access_token_request ping project project_card project_column projects_v2
    projects_v2_item projects_v2_status_update public pull_request pull_request_review pull_request_review_comment
    pull_request_review_thread push registry_package release repository repository_advisory repository_dispatch
    repository_import repository_ruleset repository_vulnerability_alert secret_scanning_alert
    secret_scanning_alert_location secret_scanning_scan security_advisory security_and_analysis sponsorship star status
    sub_issues team team_add watch workflow_dispatch workflow_job workflow_run
    """
)
#: https://docs.gitlab.com/user/project/integrations/webhook_events/
GITLAB = frozenset(
    f"{word.replace('_', ' ')} Hook"
    for word in _words(
        """
        Build Confidential_Issue Confidential_Note Deployment Emoji Feature_Flag Issue Job Member Merge_Request
        Milestone Note Pipeline Project Push Release Resource_Access_Token Service Subgroup System Tag_Push
        Vulnerability Wiki_Page
        """
    )
)
#: https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/
BITBUCKET = _words(
    """
    repo:push repo:fork repo:updated repo:transfer repo:deleted repo:imported repo:commit_comment_created
    repo:commit_status_created repo:commit_status_updated issue:created issue:updated issue:comment_created
    project:updated pullrequest:created pullrequest:updated pullrequest:push pullrequest:changes_request_created
    pullrequest:changes_request_removed pullrequest:approved pullrequest:unapproved pullrequest:fulfilled
    pullrequest:rejected pullrequest:comment_created pullrequest:comment_updated pullrequest:comment_deleted
    pullrequest:comment_resolved pullrequest:comment_reopened
    """
)
#: https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html
BITBUCKET_DC = _words(
    """
    diagnostics:ping repo:refs_changed repo:modified repo:forked repo:comment:added repo:comment:edited
    repo:comment:deleted repo:secret_detected mirror:repo_synchronized pr:opened pr:from_ref_updated pr:modified
    pr:reviewer:updated pr:reviewer:approved pr:reviewer:unapproved pr:reviewer:needs_work pr:reviewer:changes_requested
    pr:merged pr:declined pr:deleted pr:comment:added pr:comment:edited pr:comment:deleted project:modified
    """
)
#: https://docs.gitea.com/usage/repository/webhooks, and the source of both
GITEA = _words(
    """
    create delete fork push issues issue_assign issue_label issue_milestone issue_comment pull_request
    pull_request_assign pull_request_label pull_request_milestone pull_request_comment pull_request_approved
    pull_request_rejected pull_request_review_approved pull_request_review_rejected pull_request_review_comment
    pull_request_sync pull_request_review_request wiki repository release package status workflow_run workflow_job
    action_run_failure action_run_recover action_run_success schedule
    """
)
#: https://docs.sentry.io/organization/integrations/integration-platform/webhooks/
SENTRY = _words("installation issue error comment event_alert metric_alert seer")
#: https://circleci.com/docs/outbound-webhooks/
CIRCLECI = _words("ping workflow-completed job-completed")
#: https://buildkite.com/docs/apis/webhooks
BUILDKITE = _words(
    """
    ping build.scheduled build.running build.failing build.finished build.skipped job.scheduled job.started job.finished
    job.activated agent.connected agent.lost agent.disconnected agent.stopping agent.stopped agent.blocked
    cluster_token.registration_blocked package.created
    """
)
#: https://docs.lemonsqueezy.com/help/webhooks/event-types
LEMONSQUEEZY = _words(
    """
    order_created order_refunded subscription_created subscription_updated subscription_cancelled subscription_resumed
    subscription_expired subscription_paused subscription_unpaused subscription_payment_failed
    subscription_payment_success subscription_payment_recovered subscription_payment_refunded subscription_plan_changed
    license_key_created license_key_updated affiliate_activated customer_updated
    """
)
#: https://docs.aws.amazon.com/sns/latest/dg/http-header.html
SNS = _words("SubscriptionConfirmation Notification UnsubscribeConfirmation")
