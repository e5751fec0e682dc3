import { isClassifier } from "../../models/classifier.js";
import type { Model } from "../../models/model.js";
import { causalLm } from "./causal-lm.js";
import { sequenceClassification } from "./sequence-classification.js";
import type { Task } from "./task.js";

/** The task that a model is made for. @param padId the token that rows are padded with */
export const taskOf = (model: Model, padId: number): Task =>
  isClassifier(model) ? sequenceClassification({ pools: model.classifier.pools, padId }) : causalLm;
