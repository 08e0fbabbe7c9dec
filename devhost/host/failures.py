"""What the real host makes of an exception in an activity: JSON of a .NET exception that wraps the worker's answer.

The SDK puts it, as text, behind the reason: an app that parses or cuts exception texts must meet it here as well.
"""

import json

from devhost.host.worker import FunctionError

CHILD_STACK = (
    "   at System.Threading.Tasks.Task.ThrowIfExceptional(Boolean includeTaskCanceledExceptions)\n"
    "   at Microsoft.Azure.WebJobs.Extensions.DurableTask.TaskOrchestrationShim.InvokeUserCodeAndHandleResults("
    "RegisteredFunctionInfo orchestratorInfo, OrchestrationContext innerContext)"
)


def activity_details(error: FunctionError) -> str:
    """`TaskFailed.Details`."""
    rpc = {
        "$type": "Microsoft.Azure.WebJobs.Script.Workers.Rpc.RpcException, Microsoft.Azure.WebJobs.Script",
        "IsUserException": False,
        "RemoteStackTrace": error.stack,
        "RemoteMessage": error.text,
        "RemoteTypeName": None,
        "Message": f"Result: Failure\nException: {error.text}\nStack: {error.stack}",
        "Data": {"$type": "System.Collections.ListDictionaryInternal, System.Private.CoreLib"},
        "InnerException": None,
        "HelpLink": None,
        "Source": "System.Private.CoreLib",
        "HResult": -2146233088,
        "StackTrace": "",
    }
    outer = {
        "$type": "System.Exception, System.Private.CoreLib",
        "ClassName": "System.Exception",
        "Message": error.text,
        "Data": None,
        "InnerException": rpc,
        "HelpURL": None,
        "StackTraceString": None,
        "RemoteStackTraceString": None,
        "RemoteStackIndex": 0,
        "ExceptionMethod": None,
        "HResult": -2146233088,
        "Source": None,
        "WatsonBuckets": None,
    }
    return json.dumps(outer, ensure_ascii=False, separators=(",", ":"))
