"""What the checks with pods take from the manifests."""
import os
import subprocess
import sys

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def manifests(path):
    """The NetworkPolicies and the labels that every pod has; of rendered objects, else of cpu-demo."""
    import yaml
    if path:
        with open(path) as file:
            rendered = file.read()
    else:
        rendered = subprocess.run([os.path.join(REPOSITORY, "deploy", "check"), "render", "cpu-demo"],
                                  capture_output=True, text=True, check=True).stdout
    documents = [each for each in yaml.safe_load_all(rendered) if each]
    found = [each for each in documents if each["kind"] == "NetworkPolicy"]
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in documents
              if each["kind"] == "Deployment"]
    common = {key: value for key, value in labels[0].items()
              if all(each.get(key) == value for each in labels)}
    if not found:
        sys.exit("check: the manifests have no NetworkPolicy")
    return found, common
